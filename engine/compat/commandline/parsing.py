"""Words to values, and looking into objects."""

from __future__ import annotations

import inspect
import pickle
from argparse import Namespace
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import Any

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def str_to_bool(value: str) -> bool:
    """`yes` and its like as True, `no` and its like as False."""
    found = str_to_bool_or_str(value)
    if isinstance(found, bool):
        return found
    raise ValueError(f"{value!r} is neither yes nor no")


def str_to_bool_or_str(value: str) -> bool | str:
    """As `str_to_bool`, or the text itself."""
    lower = str(value).lower()
    if lower in _TRUE or lower in _FALSE:
        return lower in _TRUE
    return value


def str_to_bool_or_int(value: str) -> bool | int | str:
    """As `str_to_bool_or_str`, but a number becomes one."""
    found = str_to_bool_or_str(value)
    if isinstance(found, bool):
        return found
    try:
        return int(found)
    except ValueError:
        return found


def is_picklable(value: object) -> bool:
    """Whether pickle takes it."""
    try:
        pickle.dumps(value)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError):
        return False
    return True


def clean_namespace(values: MutableMapping[str, Any] | Namespace) -> None:
    """Remove what pickle does not take."""
    found = vars(values) if isinstance(values, Namespace) else values
    for name in [name for name, value in found.items() if not is_picklable(value)]:
        del found[name]


def flatten_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """The items of nested dicts in one, under their own keys."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result.update(flatten_dict(value) if isinstance(value, Mapping) else {key: value})
    return result


def parse_class_init_keys(cls: type) -> tuple[str, str | None, str | None]:
    """How a class calls `self`, `*args` and `**kwargs` in its `__init__`."""
    parameters = list(inspect.signature(cls.__dict__["__init__"]).parameters.values())
    kinds = {parameter.kind: parameter.name for parameter in parameters}
    return (
        parameters[0].name,
        kinds.get(inspect.Parameter.VAR_POSITIONAL),
        kinds.get(inspect.Parameter.VAR_KEYWORD),
    )


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """The arguments of the `__init__` that a frame is of."""
    found = inspect.getargvalues(frame)
    given = {name: found.locals[name] for name in found.args[1:]}
    given.update(found.locals.get(found.keywords or "", {}))
    return {name: value for name, value in given.items() if name != "__class__"}


def collect_init_args(frame: FrameType | None, path_args: list[Any]) -> list[Any]:
    """`path_args` and the arguments of each `__init__` that led to this frame."""
    while frame is not None and frame.f_code.co_name == "__init__":
        path_args = [*path_args, get_init_args(frame)]
        frame = frame.f_back
    return path_args


def _holders(model: Any, name: str) -> list[Any]:
    """Where an attribute of a model may be: itself, its hyper-parameters, its data module."""
    found = [model] if hasattr(model, name) else []
    hparams = getattr(model, "hparams", None)
    if hparams is not None and (name in hparams if isinstance(hparams, dict) else False):
        found.append(hparams)
    trainer = getattr(model, "_trainer", None)
    data = getattr(trainer, "datamodule", None)
    return found + ([data] if data is not None and hasattr(data, name) else [])


def lightning_hasattr(model: Any, name: str) -> bool:
    """Whether a model, its hyper-parameters or its data module have an attribute."""
    return bool(_holders(model, name))


def lightning_getattr(model: Any, name: str) -> Any:
    """The attribute; of several the last in that order."""
    holders = _holders(model, name)
    if not holders:
        raise AttributeError(f"neither the model nor its hyper-parameters or data have {name!r}")
    return holders[-1][name] if isinstance(holders[-1], dict) else getattr(holders[-1], name)


def lightning_setattr(model: Any, name: str, value: Any) -> None:
    """Set the attribute everywhere it is."""
    holders = _holders(model, name)
    if not holders:
        raise AttributeError(f"neither the model nor its hyper-parameters or data have {name!r}")
    for holder in holders:
        if isinstance(holder, dict):
            holder[name] = value
        else:
            setattr(holder, name, value)


def is_overridden(name: str, instance: object = None, parent: type | None = None, **_: Any) -> bool:
    """Whether an object has a method of its own in the place of its engine class's."""
    from engine import Callback, LightningDataModule, LightningModule

    if instance is None:
        return False
    if parent is None:
        kinds = (LightningModule, LightningDataModule, Callback)
        parent = next((kind for kind in kinds if isinstance(instance, kind)), None)
    if parent is None:
        raise ValueError(f"{type(instance).__name__}: say which class is its parent")
    mine, theirs = getattr(type(instance), name, None), getattr(parent, name, None)
    mine = vars(instance).get(name, mine)
    return mine is not None and mine is not theirs


def is_param_in_hook_signature(
    hook: Any, name: str, explicit: bool = False, min_args: int | None = None
) -> bool:
    """Whether a function takes a parameter of this name."""
    found = inspect.getfullargspec(inspect.unwrap(hook))
    takes = name in found.args
    if not explicit:
        takes = takes or found.varargs is not None
    return takes or (min_args is not None and len(found.args) - 1 >= min_args)
