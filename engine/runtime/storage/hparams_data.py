"""Hyper-parameters as plain data, which a checkpoint holds without pickled classes, and back."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import torch

from engine.runtime.distributed.world import rank_zero_warn

_TYPE = "__type__"


def to_plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters as data that a checkpoint can hold without pickled classes.

    What is no plain data is left out.
    """
    plain = {}
    for name, value in params.items():
        with suppress(TypeError):
            plain[name] = _encode(value)
    return plain


def objects_of(params: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, bytes]:
    """What `to_plain` left out, each in bytes that are only looked into where a file is trusted.

    A warning names what is kept so, and what can't be kept at all.
    """
    objects = {}
    for name, value in params.items():
        if name in plain:
            continue
        again = f"give it again: load_from_checkpoint(path, {name}=...)"
        what = f"hyper-parameter {name!r} is a {type(value).__name__}, no plain data"
        try:
            buffer = io.BytesIO()
            torch.save(value, buffer)
        except Exception as error:  # whatever its class raises when it is pickled
            rank_zero_warn(f"{what}, and not kept in checkpoints ({error}); {again}")
        else:
            objects[name] = buffer.getvalue()
            rank_zero_warn(
                f"{what}: from a checkpoint this process reads it back, another one only with "
                f"weights_only=False; or {again}"
            )
    return objects


def from_objects(objects: Mapping[str, bytes], map_location: Any) -> dict[str, Any]:
    """What `objects_of` made, as it was. Reading it can run code."""
    return {
        name: torch.load(io.BytesIO(value), map_location=map_location, weights_only=False)
        for name, value in objects.items()
    }


def kind_of(value: Any) -> str:
    """What kind of mapping hyper-parameters were given in."""
    if isinstance(value, Namespace):
        return "Namespace"
    return "omegaconf" if type(value).__module__.startswith("omegaconf.") else "dict"


def from_plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_plain` made, as it was."""
    return {name: _decode(value) for name, value in params.items()}


def _encode(value: Any) -> Any:  # noqa: C901, PLR0911  (one return a kind of data)
    if value is None or type(value) in (bool, int, float, str, bytes, complex, torch.Tensor):
        return value
    if isinstance(value, (torch.dtype, torch.device, torch.Size)):
        return value
    if isinstance(value, Namespace):
        return {_TYPE: "Namespace", "value": _encode(vars(value))}
    if isinstance(value, PurePath):
        return {_TYPE: "Path", "value": str(value)}
    if isinstance(value, (set, frozenset)):
        return {_TYPE: type(value).__name__, "value": [_encode(item) for item in value]}
    if kind_of(value) == "omegaconf":
        value = _unfolded(value)
    if isinstance(value, (list, tuple)):
        items = [_encode(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        return {_encode(key): _encode(item) for key, item in value.items()}
    if isinstance(value, (bool, int, float, str)):  # subclasses, as of enums and numpy
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")


def _unfolded(config: Any) -> Any:
    """A configuration as plain data; what it says of other parts is looked up, where it can be."""
    try:
        return omegaconf_class().to_container(config, resolve=True)
    except Exception:  # of omegaconf's, by versions
        return omegaconf_class().to_container(config, resolve=False)


def omegaconf_class() -> Any:
    """OmegaConf, imported where a value of it is there."""
    from omegaconf import (  # type: ignore[import-not-found]  # whoever has configurations has it
        OmegaConf,
    )

    return OmegaConf


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if _TYPE not in value:
            return {key: _decode(item) for key, item in value.items()}
        kind, inner = value[_TYPE], _decode(value["value"])
        if kind == "Namespace":
            return Namespace(**inner)
        if kind == "Path":
            from pathlib import Path

            return Path(inner)
        return set(inner) if kind == "set" else frozenset(inner)
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(item) for item in value)
    return value
