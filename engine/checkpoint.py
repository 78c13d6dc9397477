"""Checkpoint files: one dict with Lightning's keys, written whole or not at all.

They are read without pickle where they hold plain data and tensors only.

What a checkpoint holds is plain data and tensors. A file that holds more is only read when the
user says so (`weights_only=False`), since reading it can run any code.
"""

from __future__ import annotations

import inspect
import os
import pickle
import tempfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.distributed import rank_zero_warn
from engine.errors import CheckpointError
from engine.hparams import AttributeDict, from_plain, to_plain

VERSION_KEY = "engine_version"
VERSION = "0.1.0"


def write(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a file that is there whole or not at all, even if the machine stops meanwhile."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp made it private
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(
    path: str | os.PathLike[str], map_location: Any = "cpu", weights_only: bool = True
) -> dict[str, Any]:
    """Read a checkpoint; raises CheckpointError with what to do where that is not possible."""
    if not os.path.isfile(path):
        raise CheckpointError(f"there is no checkpoint {os.fspath(path)!r}")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        if not weights_only:
            raise CheckpointError(f"{os.fspath(path)!r} is no checkpoint: {error}") from error
        raise CheckpointError(
            f"{os.fspath(path)!r} holds more than plain data, and reading that can run code of "
            "whoever wrote it. If you trust the file, pass weights_only=False, or allow its "
            f"classes by torch.serialization.add_safe_globals. It said: {_first_line(error)}"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} cannot be read: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{os.fspath(path)!r} is no checkpoint of a run")
    return checkpoint


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "nsupported" in line or "GLOBAL" in line]
    return (lines or str(error).splitlines() or [type(error).__name__])[0].strip()


# ---------------------------------------------------------------------- hyper-parameters


def put_hparams(checkpoint: dict[str, Any], module: Any, datamodule: Any) -> None:
    """Add the hyper-parameters of module and data module."""
    if module.hparams:
        checkpoint["hyper_parameters"] = to_plain(module.hparams)
        checkpoint["hparams_name"] = getattr(module, "_hparams_name", None) or "kwargs"
    if datamodule is not None and getattr(datamodule, "hparams", None):
        checkpoint["datamodule_hyper_parameters"] = to_plain(datamodule.hparams)


def module_from_checkpoint(
    cls: type[Any],
    path: str | os.PathLike[str],
    map_location: Any,
    hparams_file: str | os.PathLike[str] | None,
    strict: bool,
    weights_only: bool,
    overrides: dict[str, Any],
) -> Any:
    """A module of class `cls` with the checkpoint's hyper-parameters and weights."""
    checkpoint = read(path, map_location or "cpu", weights_only)
    if hparams_file is not None:
        checkpoint["hyper_parameters"] = _read_yaml(hparams_file)
    params = from_plain(checkpoint.get("hyper_parameters", {}))
    arguments = _init_arguments(cls, params, checkpoint.get("hparams_name"), overrides)
    try:
        module = cls(**arguments)
    except TypeError as error:
        raise TypeError(
            f"{cls.__name__} cannot be made with what the checkpoint holds "
            f"({', '.join(arguments) or 'no hyper-parameters'}): {error}. Give what is missing: "
            f"{cls.__name__}.load_from_checkpoint(path, name=value)"
        ) from error
    if not module.hparams and params:
        module.__dict__["_hparams"] = AttributeDict({**params, **overrides})
    module.on_load_checkpoint(checkpoint)
    state = checkpoint["state_dict"]
    try:
        module.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        raise RuntimeError(_misfit(module, state, overrides, os.fspath(path), error)) from error
    return module


def _misfit(
    module: Any, state: dict[str, Any], overrides: dict[str, Any], path: str, error: Exception
) -> str:
    """Why the weights of a file are none for the module: shapes first, since they stop it."""
    mine = module.state_dict()
    shapes = [
        f"{name} is {tuple(value.shape)} in the file and {tuple(mine[name].shape)} in the module"
        for name, value in state.items()
        if name in mine and hasattr(value, "shape") and value.shape != mine[name].shape
    ]
    if not shapes:
        return f"{error}. strict=False loads what fits"
    given = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
    more = f", and {len(shapes) - 3} more" if len(shapes) > 3 else ""
    return (
        f"the weights of {path!r} do not fit {type(module).__name__}({given}): "
        f"{'; '.join(shapes[:3])}{more}. Leave out the argument that changes a shape, or make the "
        "module anew and copy the weights that you want"
    )


def datamodule_from_checkpoint(
    cls: type[Any],
    path: str | os.PathLike[str],
    map_location: Any,
    weights_only: bool,
    overrides: dict[str, Any],
) -> Any:
    """A data module of class `cls` with the checkpoint's hyper-parameters and state."""
    checkpoint = read(path, map_location or "cpu", weights_only)
    params = from_plain(checkpoint.get("datamodule_hyper_parameters", {}))
    datamodule = cls(**_init_arguments(cls, params, None, overrides))
    state = checkpoint.get(cls.__qualname__)
    if state:
        datamodule.load_state_dict(state)
    return datamodule


def _init_arguments(
    cls: type[Any], params: dict[str, Any], name: str | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    """What `cls` is called with: its own hyper-parameters, overridden."""
    parameters = inspect.signature(cls.__init__).parameters
    if name not in (None, "kwargs") and name in parameters:
        # The hyper-parameters were one object: `save_hyperparameters(args)`.
        known = {key: value for key, value in overrides.items() if key in parameters}
        inner = {key: value for key, value in overrides.items() if key not in parameters}
        return {str(name): Namespace(**{**params, **inner}), **known}
    arguments = {**params, **overrides}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return arguments
    unknown = [key for key in overrides if key not in parameters]
    if unknown:
        raise TypeError(f"{cls.__name__} has no argument {unknown[0]!r}")
    return {key: value for key, value in arguments.items() if key in parameters}


def _read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    import yaml

    with open(path) as file:
        params: dict[str, Any] = yaml.safe_load(file) or {}
    return params


# ---------------------------------------------------------------------- callbacks


def callback_states(callbacks: list[Any], call_save: Any) -> dict[str, Any]:
    """The states of all callbacks; `call_save` calls a callback's `on_save_checkpoint`."""
    states: dict[str, Any] = {}
    for callback in callbacks:
        state, legacy = callback.state_dict(), call_save(callback)
        if state:
            states[callback.state_key] = state
        elif legacy is not None:
            states[callback.state_key] = {"legacy": legacy}
    return states


def restore_callbacks(callbacks: list[Any], states: dict[str, Any]) -> None:
    """Give callbacks their states back; says which states nobody took."""
    keys = {callback.state_key for callback in callbacks}
    left = [key for key in states if key not in keys]
    if left:
        rank_zero_warn(f"the checkpoint holds states of callbacks that are not here: {left}")
    for callback in callbacks:
        state = states.get(callback.state_key)
        if state is not None and "legacy" not in state:
            callback.load_state_dict(state)
