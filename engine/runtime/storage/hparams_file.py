"""Hyper-parameters as plain data, and the file they are kept in."""

from __future__ import annotations

import argparse
import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.runtime.storage.files import write_whole

HPARAMS_FILE = "hparams.yaml"


def as_mapping(params: Mapping[str, Any] | argparse.Namespace | Any | None) -> dict[str, Any]:
    """Hyper-parameters, in whichever form they were given, by name."""
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return dict(params)
    return dict(vars(params))


def plain(value: Any) -> Any:
    """`value` as data that YAML's safe loader reads back; what is none becomes its text."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return _plain_leaf(value)


def _plain_leaf(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, torch.Tensor):
        return value.tolist() if value.numel() <= 100 else f"tensor{tuple(value.shape)}"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if getattr(value, "shape", None) == ():  # numpy's scalars, of which some are no python number
        value = value.item()
    for kind in (bool, int, float, str):  # subclasses would be written with a python tag
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else repr(value)


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested hyper-parameters in one level, named `outer/inner`."""
    result: dict[str, bool | int | float | str] = {}
    for key, value in params.items():
        simple = plain(value)
        if isinstance(simple, dict):
            result.update(flat(simple, f"{prefix}{key}/"))
        else:
            kept = isinstance(simple, (bool, int, float, str))
            result[f"{prefix}{key}"] = simple if kept else str(simple)
    return result


def flatten(
    params: Mapping[Any, Any], delimiter: str = "/", parent_key: str = ""
) -> dict[str, Any]:
    """Nested hyper-parameters in one level, named `outer/inner`, their values as they are."""
    result: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{parent_key}{delimiter}{key}" if parent_key else str(key)
        value = vars(value) if isinstance(value, argparse.Namespace) else value
        if isinstance(value, Mapping):
            result.update(flatten(value, delimiter, name))
        else:
            result[name] = value
    return result


def simple_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Text in the place of what is no number, text or tensor."""
    kinds = (bool, int, float, str, torch.Tensor)
    return {
        name: value if isinstance(value, kinds) else str(value) for name, value in params.items()
    }


def called_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """A name in the place of each function; of one without arguments what it returns."""
    values: dict[str, Any] = {}
    for name, value in params.items():
        if callable(value):
            try:
                value = value()
            except Exception:  # it needs arguments, or anything else
                value = getattr(value, "__name__", str(value))
            value = getattr(value, "__name__", str(value)) if callable(value) else value
        values[name] = value
    return values


def write_hparams(folder: str | os.PathLike[str], params: Mapping[str, Any]) -> None:
    """Write `hparams.yaml` into `folder`, whole or not at all."""
    import yaml  # only rank zero, only when a run starts

    write_whole(Path(folder) / HPARAMS_FILE, yaml.safe_dump(plain(params), sort_keys=False))
