"""Checkpoint files: one dict with Lightning's keys, written whole or not at all.

They are read without pickle where they hold plain data and tensors only.

What a checkpoint holds is plain data and tensors, unless a module or callback puts in more. A file
that holds more is only read when the user says so (`weights_only=False`, or torch's environment
variable), since reading it can run any code; or when this very process has written it.
"""

from __future__ import annotations

import difflib
import glob
import inspect
import os
import pickle
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.compiled import named_for
from engine.distributed import rank_zero_warn
from engine.errors import CheckpointError
from engine.hparams import (
    AttributeDict,
    from_objects,
    from_plain,
    in_kind,
    kind_of,
    objects_of,
    to_plain,
)

VERSION_KEY = "engine_version"
VERSION = "0.1.0"
# Lightning reads no file without it; from 2.0 on it changes nothing of what it loads of ours.
LIGHTNING_KEY, LIGHTNING = "pytorch-lightning_version", "2.0.0"
FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # torch's: for programs that can't be edited

_own: dict[str, tuple[int, int, int]] = {}  # files of this process, and what they were like


def write(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a file that is there whole or not at all, even if the machine stops meanwhile."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(target.parent)
    prefix = f".{target.name}.{_host()}-{os.getpid()}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp made it private
        os.replace(name, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        cause = _of_the_system(error)
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, os.fspath(target)) from error
    sync_folder(target.parent)


def _host() -> str:
    return platform.node().partition(".")[0] or "host"


def _remove_left(folder: Path) -> None:
    """Delete the parts of files that a process of this machine left when it was killed."""
    for part in folder.glob(f".*.{glob.escape(_host())}-*.part"):
        number = part.name.rpartition("-")[2].partition(".")[0]
        if number.isdigit() and not _is_alive(int(number)):
            part.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True


def _of_the_system(error: BaseException | None) -> OSError | None:
    """What the system said: torch's writer covers it by a sentence about positions in a file."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def note_own(path: str) -> None:
    """Remember that this process, or its rank zero, has just written a file."""
    for old in [one for one in _own if not os.path.exists(one)]:
        del _own[old]
    with suppress(OSError):  # rank zero's disk may be of another machine
        _own[os.path.realpath(path)] = _likeness(path)


def is_plain_only(path: str | os.PathLike[str], weights_only: bool = True) -> bool:
    """Whether a file is to be read without running code: it is of others, and no word says no."""
    is_forced = os.environ.get(FORCE, "0").lower() in ("1", "y", "yes", "true")
    return weights_only and not is_forced and _own.get(os.path.realpath(path)) != _likeness(path)


def _likeness(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


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
        hint = ": that is a folder, give a file in it" if os.path.isdir(path) else ""
        raise CheckpointError(f"there is no checkpoint {os.fspath(path)!r}{hint}")
    weights_only = is_plain_only(path, weights_only)
    try:
        _check_beginning(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=weights_only)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if not weights_only:
            raise CheckpointError(f"{os.fspath(path)!r} is no checkpoint: {error}") from error
        raise CheckpointError(
            f"{os.fspath(path)!r} holds more than plain data, and reading that can run code of "
            "whoever wrote it. If you trust the file, pass weights_only=False, or allow its "
            f"classes by torch.serialization.add_safe_globals, or set {FORCE}=1 for a program that "
            f"is not to be edited. It said: {_first_line(error)}"
        ) from error
    except Exception as error:  # a damaged file can say anything
        raise CheckpointError(
            f"{os.fspath(path)!r} cannot be read; it may be damaged, or a part of a file. It said: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{os.fspath(path)!r} is no checkpoint of a run")
    return checkpoint


def weights_in(checkpoint: dict[str, Any], name: str = "the file") -> dict[str, Any]:
    """The module's weights that a checkpoint holds."""
    if "state_dict" in checkpoint:
        weights: dict[str, Any] = checkpoint["state_dict"]
        return weights
    is_bare = checkpoint and all(isinstance(v, torch.Tensor) for v in checkpoint.values())
    hint = "; it is a bare state_dict: module.load_state_dict(torch.load(path))" if is_bare else ""
    raise CheckpointError(f"{name} holds no weights of a module ('state_dict' is missing){hint}")


def _check_beginning(path: str | os.PathLike[str]) -> None:
    """What torch.save did not write is not unpickled, and nobody is told to trust it."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise CheckpointError(
            f"{os.fspath(path)!r} is no checkpoint: torch.save does not begin a file with {start!r}"
        )


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "nsupported" in line or "GLOBAL" in line]
    return (lines or str(error).splitlines() or [type(error).__name__])[0].strip()


# ---------------------------------------------------------------------- hyper-parameters


def put_hparams(checkpoint: dict[str, Any], module: Any, datamodule: Any) -> None:
    """Add the hyper-parameters of module and data module."""
    if module.hparams:
        _put(checkpoint, "hyper_parameters", module.hparams)
        checkpoint["hparams_name"] = getattr(module, "_hparams_name", None) or "kwargs"
        checkpoint["hparams_kind"] = getattr(module, "_hparams_kind", None)
    if datamodule is not None and getattr(datamodule, "hparams", None):
        _put(checkpoint, "datamodule_hyper_parameters", datamodule.hparams)


def _put(checkpoint: dict[str, Any], key: str, params: Any) -> None:
    plain = checkpoint[key] = to_plain(params)
    configs = [name for name, value in params.items() if kind_of(value) == "omegaconf"]
    if configs:
        checkpoint[f"{key}_configs"] = configs
    objects = objects_of(params, plain)
    if objects:
        checkpoint[f"{key}_objects"] = objects


def _params(checkpoint: dict[str, Any], key: str, objects_to: Any, known: Any) -> dict[str, Any]:
    """The hyper-parameters as they were; the objects among them, on a device, if one is given."""
    params = from_plain(checkpoint.get(key, {}))
    for name in checkpoint.get(f"{key}_configs", ()):
        params[name] = in_kind(params[name], "omegaconf")
    objects = checkpoint.get(f"{key}_objects", {})
    if objects_to is not None:
        return {**params, **from_objects(objects, objects_to)}
    left = sorted(set(objects) - set(known))
    if left:
        rank_zero_warn(
            f"hyper-parameters that are objects were left out: {', '.join(left)}. If you trust the "
            f"file, weights_only=False (or the environment's {FORCE}=1) reads them, too"
        )
    return params


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
    device = map_location or "cpu"
    checkpoint = read(path, device, weights_only)
    if hparams_file is not None:
        checkpoint["hyper_parameters"] = _read_yaml(hparams_file)
    objects_to = None if is_plain_only(path, weights_only) else device
    params = _params(checkpoint, "hyper_parameters", objects_to, overrides)
    arguments = _init_arguments(cls, params, checkpoint, overrides)
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
    state = named_for(module, weights_in(checkpoint, repr(os.fspath(path))))
    try:
        module.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        raise RuntimeError(_misfit(module, state, overrides, os.fspath(path), error)) from error
    return module


def _misfit(
    module: Any, state: Mapping[str, Any], overrides: dict[str, Any], path: str, error: Exception
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
    device = map_location or "cpu"
    checkpoint = read(path, device, weights_only)
    objects_to = None if is_plain_only(path, weights_only) else device
    params = _params(checkpoint, "datamodule_hyper_parameters", objects_to, overrides)
    datamodule = cls(**_init_arguments(cls, params, {}, overrides))
    state = checkpoint.get(cls.__qualname__)
    if state:
        datamodule.load_state_dict(state)
    return datamodule


def _init_arguments(
    cls: type[Any], params: dict[str, Any], checkpoint: dict[str, Any], overrides: dict[str, Any]
) -> dict[str, Any]:
    """What `cls` is called with: its own hyper-parameters, overridden."""
    parameters = inspect.signature(cls.__init__).parameters
    name, kind = checkpoint.get("hparams_name"), checkpoint.get("hparams_kind")
    if name not in (None, "kwargs") and name in parameters:
        # The hyper-parameters were one object: `save_hyperparameters(args)`.
        known = {key: value for key, value in overrides.items() if key in parameters}
        inner = {key: value for key, value in overrides.items() if key not in parameters}
        return {str(name): in_kind({**params, **inner}, kind), **known}
    arguments = {**params, **overrides}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return arguments
    for key in overrides:
        if key not in parameters:  # programs hand on all that their command line knows
            near = difflib.get_close_matches(key, list(parameters), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            rank_zero_warn(f"{cls.__name__} has no argument {key!r}: it is left out{hint}")
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
