"""A YAML file as a tree whose every value knows its place, so that errors can point at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.config_error import ConfigError

if TYPE_CHECKING:
    import yaml


@dataclass(frozen=True)
class Value:
    """One value of the file: ``data`` is a dict or list of Values, or a scalar.

    ``path`` names it as people do (``ssh.connect_timeout``); ``written`` is a scalar as it stands
    in the file, before YAML made a number of it. The methods raise ConfigError on a wrong type.
    """

    data: Any
    path: str
    file: str
    line: int
    written: str = ""

    def error(self, problem: str) -> ConfigError:
        """Return (not raise) an error about this value."""
        return ConfigError(
            f"{self.path}: {problem}" if self.path else problem, self.file, self.line
        )

    def text(self) -> str:
        """Non-empty text; a number counts as it is written, so 12:00:00 stays a time."""
        if isinstance(self.data, bool):
            raise self.error(f'text is expected: write "{self.written}" in quotes')
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
        return repr(self.written) if self.written else "nothing"


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


def read(file: str) -> Value:
    """Read a YAML file safely; an empty file is an empty mapping. Raises ConfigError."""
    import yaml

    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", file) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start})", file) from error
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Value({}, "", file, 1)
        return _value(node, loader, "", file)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not valid YAML: {error.problem}", file, line) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"not valid YAML: {error}", file) from error


def _value(node: yaml.Node, loader: yaml.SafeLoader, path: str, file: str) -> Value:
    import yaml

    line = node.start_mark.line + 1
    data: Any
    if isinstance(node, yaml.MappingNode):
        data = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in data:
                raise ConfigError(f"{key!r} is there twice", file, key_node.start_mark.line + 1)
            data[key] = _value(value_node, loader, f"{path}.{key}" if path else key, file)
        return Value(data, path, file, line)
    if isinstance(node, yaml.SequenceNode):
        data = [_value(n, loader, f"{path}[{i}]", file) for i, n in enumerate(node.value)]
        return Value(data, path, file, line)
    return Value(loader.construct_object(node), path, file, line, node.value)
