"""A YAML file as a tree whose every value knows its place, so that errors can point at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.core.errors import ConfigError

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 4 << 20
MAX_VALUES = 100_000  # with aliases written out
MAX_DEPTH = 50


@dataclass(frozen=True)
class Value:
    """One value of the file: ``data`` is a dict or list of Values, or a scalar.

    ``path`` names it as people do (``ssh.connect_timeout``); ``written`` is a scalar as it stands
    in the file, before YAML made a number of it. What is ``secret`` is never shown. The methods
    raise ConfigError on a wrong type.
    """

    data: Any = field(repr=False)
    path: str
    file: str
    line: int
    written: str = field(default="", repr=False)
    secret: bool = False

    def error(self, problem: str) -> ConfigError:
        """Return (not raise) an error about this value."""
        return ConfigError(
            f"{self.path}: {problem}" if self.path else problem, self.file, self.line
        )

    def text(self) -> str:
        """Non-empty text; a number counts as it is written, so 12:00:00 stays a time."""
        if isinstance(self.data, bool):
            what = "it" if self.secret else f'"{self.written}"'
            raise self.error(f"text is expected: write {what} in quotes")
        if self.data is None or isinstance(self.data, dict | list) or not self.written:
            raise self.error(f"text is expected, not {self._what()}")
        return self.written

    def number(self) -> float:
        """A positive, finite number."""
        if isinstance(self.data, bool) or not isinstance(self.data, int | float):
            raise self.error(f"a number is expected, not {self._what()}")
        if not 0 < self.data < float("inf"):
            raise self.error(f"a number above zero is expected, not {self.written}")
        return self.data

    def whole_number(self, least: int, most: int) -> int:
        """An integer between the two bounds, both included."""
        if type(self.data) is not int or not least <= self.data <= most:
            raise self.error(
                f"a whole number from {least} to {most} is expected, not {self._what()}"
            )
        return self.data

    def items(self) -> list[Value]:
        """The values of a list."""
        if not isinstance(self.data, list):
            raise self.error(f"a list is expected, not {self._what()}")
        return self.data

    def mapping(self) -> dict[str, Value]:
        """The values of a mapping by their keys."""
        if not isinstance(self.data, dict):
            raise self.error(f"a mapping (key: value) is expected, not {self._what()}")
        return self.data

    def section(self, known: Sequence[str]) -> dict[str, Value]:
        """A mapping with no other keys than the known ones."""
        values = self.mapping()
        for key, value in values.items():
            if key not in known:
                raise ConfigError(unknown(key, known, self.path), self.file, value.line)
        return values

    def _what(self) -> str:
        if isinstance(self.data, dict):
            return "a mapping"
        if isinstance(self.data, list):
            return "a list"
        if not self.written:
            return "nothing"
        return "a plain value" if self.secret else repr(self.written)


def unknown(key: str, known: Sequence[str], where: str = "") -> str:
    """Say that there is no such key, which one may have been meant, and which there are."""
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return (
        f"unknown key {key!r}"
        + (f" in {where}" if where else "")
        + (f", did you mean {near[0]!r}?" if near else ".")
        + f" Known keys: {', '.join(known)}"
    )


def read(file: str, secret: Sequence[str] = ()) -> Value:
    """Read a YAML file safely; an empty file is an empty mapping. Raises ConfigError.

    What stands below one of the ``secret`` keys at the top is in no message.
    """
    import yaml

    text = _text_of(file)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Value({}, "", file, 1)
        return _Tree(loader, file, secret).value(node, "", 0)
    # Without the cause: what YAML says of a mistake shows the lines around it.
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not valid YAML: {_without_words(error.problem)}", file, line) from None
    except ConfigError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else "it can't be read"
        raise ConfigError(f"not valid YAML: {what}", file) from None


def _text_of(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", file) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES >> 20} MiB", file)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start})", file) from None


def _without_words(problem: str | None) -> str:
    """What YAML says, without what it quotes of the file: that may be a password."""
    told = re.sub(r"(?<![\w<])'(?!<)[^']{2,}'", "", problem or "a mistake")
    hint = "; write a value with one of * & ! % @ ` in it in quotes"
    marks = ("alias", "tag", "cannot start any token", "anchor", "directive")
    return " ".join(told.split()) + (hint if any(mark in told for mark in marks) else "")


class _Tree:
    """Makes Values of YAML's nodes, as many as anybody needs."""

    def __init__(self, loader: yaml.SafeLoader, file: str, secret: Sequence[str]) -> None:
        self._loader, self._file, self._secret = loader, file, secret
        self._left = MAX_VALUES

    def value(self, node: yaml.Node, path: str, depth: int) -> Value:
        """One node with all below it. Raises ConfigError."""
        import yaml

        line, file = node.start_mark.line + 1, self._file
        secret = path.partition(".")[0].partition("[")[0] in self._secret
        self._left -= 1
        if self._left < 0:  # a few aliases of aliases stand for billions of values
            raise ConfigError(f"holds more than {MAX_VALUES:,} values, by its aliases", file, line)
        if depth > MAX_DEPTH:
            raise ConfigError(f"is nested more than {MAX_DEPTH} deep", file, line)
        data: Any
        if isinstance(node, yaml.MappingNode):
            data = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    place = key_node.start_mark.line + 1
                    raise ConfigError("a key must be plain text", file, place)
                key = str(key_node.value)
                if key in data:
                    shown = key.partition("=")[0] if secret else key
                    place = key_node.start_mark.line + 1
                    raise ConfigError(f"{shown!r} is there twice", file, place)
                data[key] = self.value(value_node, f"{path}.{key}" if path else key, depth + 1)
            return Value(data, path, file, line, secret=secret)
        if isinstance(node, yaml.SequenceNode):
            data = [self.value(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
            return Value(data, path, file, line, secret=secret)
        try:
            data = self._loader.construct_object(node)
        except ValueError:  # such as a date that there isn't
            raise ConfigError(f"{path}: it can't be read: write it in quotes", file, line) from None
        return Value(data, path, file, line, node.value, secret)
