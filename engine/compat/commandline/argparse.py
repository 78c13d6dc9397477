"""Arguments from a command line: argparse for the Trainer and for data modules."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from engine.compat.commandline.values import read

C = TypeVar("C", bound="FromShell")
_EMPTY = inspect.Parameter.empty


class Argument(NamedTuple):
    """One argument of a constructor, as the command line has it."""

    name: str
    default: Any
    meaning: str
    parse: Callable[[Any], Any]
    types: tuple[Any, ...]

    def read(self, text: str) -> Any:
        """The value that `text` on a command line means; raises with what to give instead."""
        return read(text, self.parse, True if bool in self.types else self.default)


class FromShell:
    """A class whose constructor's arguments can come from argparse."""

    @classmethod
    def shell_arguments(cls) -> list[Argument]:
        """The constructor's arguments, by its signature and annotations."""
        return _of_signature(cls)

    @classmethod
    def add_argparse_args(cls, parent_parser: Any, **_: Any) -> ArgumentParser:
        """Add all arguments to a parser, or to a group of one; returns what can parse them."""
        is_parser = isinstance(parent_parser, ArgumentParser)
        group = parent_parser.add_argument_group(cls.__name__) if is_parser else parent_parser
        there = {action.dest for action in parent_parser._actions}
        for argument in cls.shell_arguments():
            if argument.name not in there:  # the program's own counts
                _add(group, argument)
        if is_parser:
            return parent_parser  # type: ignore[no-any-return]  # a parser, as was asked above
        return ArgumentParser(parents=[parent_parser], add_help=False)

    @classmethod
    def parse_argparser(cls, arg_parser: ArgumentParser | Namespace) -> Namespace:
        """The parsed arguments; texts are read as those of the command line are."""
        args = arg_parser.parse_args() if isinstance(arg_parser, ArgumentParser) else arg_parser
        known = {argument.name: argument for argument in cls.shell_arguments()}
        values = {
            name: _typed(known[name], value) if name in known else value
            for name, value in vars(args).items()
        }
        return Namespace(**values)

    @classmethod
    def from_argparse_args(cls: type[C], args: ArgumentParser | Namespace, **kwargs: Any) -> C:
        """An instance with the arguments in `args` that are its own; `kwargs` count before them."""
        given = vars(cls.parse_argparser(args))
        known = {argument.name: argument.default for argument in cls.shell_arguments()}
        own = {
            name: value
            for name, value in given.items()
            if name in known and not _is_left_out(value, known[name])
        }
        return cls(**{**own, **kwargs})

    @classmethod
    def get_init_arguments_and_types(cls) -> list[tuple[str, tuple[Any, ...], Any]]:
        """Name, types and default of each argument."""
        return [(one.name, one.types, one.default) for one in cls.shell_arguments()]

    @classmethod
    def default_attributes(cls) -> dict[str, Any]:
        """The default of each argument."""
        return {one.name: one.default for one in cls.shell_arguments()}


def _is_left_out(value: Any, default: Any) -> bool:
    if default is _EMPTY:
        return value is None
    # 1 is not 1.0 here: one batch is not all of them.
    return value is default or (type(value) is type(default) and bool(value == default))


def _typed(argument: Argument, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return argument.read(value)
    except (ValueError, TypeError):
        return value  # the constructor says what is wrong with it


def _from_text(argument: Argument, text: str) -> Any:
    try:
        return argument.read(text)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"{text!r}: give {error}") from None


def _add(group: Any, argument: Argument) -> None:
    default = None if argument.default is _EMPTY else argument.default
    # The name of one that can be True may stand alone.
    options = {"nargs": "?", "const": True} if bool in argument.types else {}
    group.add_argument(
        f"--{argument.name}",
        default=default,
        type=partial(_from_text, argument),
        help=f"{argument.meaning} ({default})".strip().replace("%", "%%"),
        metavar=argument.name.upper(),
        **options,
    )


def _of_signature(cls: type) -> list[Argument]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # asked of this very class
    parameters = [one for one in signature.parameters.values() if one.kind in kinds][1:]
    try:
        hints = get_type_hints(cls.__init__)  # type: ignore[misc]  # as above
    except (NameError, TypeError):  # annotations that only type checkers can resolve
        hints = {}
    arguments = []
    for one in parameters:
        types = _members(hints[one.name]) if one.name in hints else _kind_of(one.default)
        arguments.append(Argument(one.name, one.default, "", partial(_one_of_types, types), types))
    return arguments


def _kind_of(default: Any) -> tuple[Any, ...]:
    return () if default is None or default is _EMPTY else (type(default),)


def _members(hint: Any) -> tuple[Any, ...]:
    """The plain types in an annotation; those of a union, each."""
    origin = get_origin(hint)
    if origin is Union or type(hint).__name__ == "UnionType":
        return tuple(kind for member in get_args(hint) for kind in _members(member))
    kind = origin or hint
    return (kind,) if isinstance(kind, type) else ()


def _one_of_types(types: tuple[Any, ...], value: Any) -> Any:
    """The value, if it is of one of the types; anything goes where they are not known."""
    if bool in types and value in (0, 1):
        return bool(value)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if is_int and float in types and int not in types:
        return float(value)
    plain = tuple(kind for kind in types if kind in (bool, int, float, str, type(None), list, dict))
    exact = not isinstance(value, bool) or bool in types
    if not types or len(plain) < len(types) or (exact and isinstance(value, plain)):
        return value
    raise ValueError(" or ".join(kind.__name__ for kind in types))
