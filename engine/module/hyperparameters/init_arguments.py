"""The arguments that an object is made with: read from the calls of its `__init__` that run.

These may be several, from the class's own inwards to that of a base: what decorates one, or hands
`*args` and `**kwargs` on to the next, is one of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any

_NOT_GIVEN = ("dataclasses", "attr._make")  # where marks of arguments that were left out come from


def arguments_in(owner: object, frame: FrameType | None) -> dict[str, Any] | None:
    """The arguments of the `__init__` of `owner` that runs in `frame` or around it; None if none.

    A subclass hands arguments on: what the outermost call was given counts.
    """
    chain = _chain(type(owner))
    collected: dict[str, Any] | None = None
    while frame is not None:
        given = _given(frame, owner, chain)
        if given is not None:
            collected = {**(collected or {}), **given}
        frame = frame.f_back
    return collected


def parameters_of(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The parameters that `cls` can be called with, those of bases behind `**kwargs`, too."""
    found: dict[str, inspect.Parameter] = {}
    for function in _chain(cls):
        parameters = _own_parameters(function)
        for name, parameter in list(parameters.items())[1:]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(name, parameter)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def _chain(cls: type[Any]) -> list[FunctionType]:
    """The functions that making a `cls` may go through, from the outermost inwards."""
    return [
        function
        for kind in cls.__mro__
        for function in _layers(kind.__dict__.get("__init__"))
        if not hasattr(function, "is_no_hparam")  # a base's, for arguments that are not kept
    ]


def _layers(function: Any) -> Iterator[FunctionType]:
    """A function and those that it decorates, also without functools.wraps."""
    while isinstance(function, FunctionType):
        yield function
        inner = getattr(function, "__wrapped__", None)
        function = inner if inner is not None else _enclosed(function)


def _enclosed(function: FunctionType) -> FunctionType | None:
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # nothing is in it yet
            continue
        if isinstance(content, FunctionType) and content.__name__ == "__init__":
            return content
    return None


def _own_parameters(function: FunctionType) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function, follow_wrapped=False).parameters


def _given(frame: FrameType, owner: object, chain: list[FunctionType]) -> dict[str, Any] | None:
    """The arguments of a call by name, if it makes `owner`."""
    code = frame.f_code
    at = next((i for i, function in enumerate(chain) if function.__code__ is code), None)
    if at is None and code.co_name != "__init__":
        return None
    values = frame.f_locals  # not of every frame: it keeps alive what is in it
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:count]
    has_rest = bool(code.co_flags & inspect.CO_VARARGS)
    rest_name = code.co_varnames[count] if has_rest else ""
    rest = list(values.get(rest_name, ()))
    first = values.get(names[0]) if names else next(iter(rest), None)
    if first is not owner:
        return None
    if not names:
        rest = rest[1:]
    given = {name: values[name] for name in names[1:] if name in values}
    if rest:
        given.update(_named(rest, rest_name, chain, at))
    if code.co_flags & inspect.CO_VARKEYWORDS:
        given.update(values.get(code.co_varnames[count + has_rest], {}))
    made = {name: _made(owner, name, value) for name, value in given.items()}
    return {name: value for name, value in made.items() if value is not inspect.Parameter.empty}


def _named(
    rest: list[Any], rest_name: str, chain: list[FunctionType], at: int | None
) -> dict[str, Any]:
    """What came as `*args` by the names that the next call has for them.

    An `__init__` may have a `*layers` for itself: these stay what they are.
    """
    decorates = at is not None and len(list(_layers(chain[at]))) > 1
    if at is not None and (decorates or rest_name == "args"):
        for function in chain[at + 1 :]:
            names = [
                p.name for p in _own_parameters(function).values() if p.kind < p.VAR_POSITIONAL
            ]
            if len(names) > len(rest):
                return dict(zip(names[1:], rest, strict=False))
    return {rest_name: tuple(rest)}


def _made(owner: object, name: str, value: Any) -> Any:
    """An argument; what a dataclass makes by a factory where it was not given."""
    if type(value).__module__ in _NOT_GIVEN:
        return getattr(owner, name, inspect.Parameter.empty)
    return value
