"""What a piece of JSON data must look like, written down as a shape, and a check against it.

A shape is a type (``int``: 64 bits and no truth value; ``float``: any finite number), a set of the
allowed values, a tuple of shapes of which one must fit (None among them: null), ``[shape]`` for a
list, ``{str: shape}`` for a mapping, ``{"key": shape}`` for an object with these keys and no other
("key?" may be missing, ``...: DATA`` lets others be there), ``DATA`` for any JSON value, or a
function that says yes. Pure, and standard library only: this file travels to the nodes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 100  # of data: lists and objects in each other
DATA = object()


def wrong(value: Any, shape: Any, name: str = "it") -> str:
    """What about ``value`` does not fit, in a few words that hold nothing of it; empty if it fits.

    ``name`` is what the value is called there.
    """
    if shape is DATA:
        return "" if _is_data(value) else f"{name} is nested too deep, or no JSON data"
    if isinstance(shape, tuple):
        fits = any(not wrong(value, one, name) for one in shape)
        return "" if fits else wrong(value, shape[0], name)
    if isinstance(shape, list):
        return _wrong_list(value, shape[0], name)
    if isinstance(shape, dict):
        return _wrong_object(value, shape, name)
    return "" if _is(value, shape) else f"{name} is a {type(value).__name__} or not as it may be"


def _is(value: Any, shape: Any) -> bool:
    if shape is None or shape is bool:
        return value is None if shape is None else isinstance(value, bool)
    if isinstance(shape, frozenset):
        return isinstance(value, (int, str)) and not isinstance(value, bool) and value in shape
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    if shape is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and abs(value) < 1e300  # which NaN isn't either
    if shape is str:
        return isinstance(value, str) and is_text(value)
    return bool(shape(value))


def _wrong_list(value: Any, shape: Any, name: str) -> str:
    if not isinstance(value, list):
        return f"{name} is no list"
    return next((text for item in value if (text := wrong(item, shape, f"{name}[]"))), "")


def _wrong_object(value: Any, shape: dict[Any, Any], name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} is no object"
    if str in shape:
        items = value.values()
        return next((text for item in items if (text := wrong(item, shape[str], name))), "")
    known = 0
    for key, inner in shape.items():
        if key is ...:
            continue
        plain = key.removesuffix("?")
        if plain in value:
            known += 1
            text = wrong(value[plain], inner, plain)
            if text:
                return f"{name}: {text}"
        elif plain == key:
            return f"{name} without {plain}"
    return f"{name} with something more" if known < len(value) and ... not in shape else ""


def is_text(text: str) -> bool:
    """Whether it stands for bytes: lone surrogates only where they are bytes that are no UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_data(value: Any, depth: int = 0) -> bool:
    """JSON data that is not nested deeper than anybody needs."""
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return depth < MAX_DEPTH and all(_is_data(item, depth + 1) for item in items)
    return value is None or isinstance(value, (bool, int, float, str))
