"""Checkpoint files: one dict with Lightning's keys, written whole or not at all.

They are read without pickle where they hold plain data and tensors only.

What a checkpoint holds is plain data and tensors, unless a module or callback puts in more. A file
that holds more is only read when the user says so (`weights_only=False`, or torch's environment
variable), since reading it can run any code; or when its pickle is one that this very process, or
its rank zero, has written: that is known by its digest, whatever the file is called.
"""

from __future__ import annotations

import glob
import io
import os
import pickle
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import CheckpointError
from engine.runtime.storage.archive import archive
from engine.runtime.storage.files import file_mode, make_folder
from engine.runtime.storage.hparams_data import kind_of, objects_of, to_plain
from engine.runtime.storage.rehearsal import rehearse, rehearse_old

if TYPE_CHECKING:
    from engine.runtime.data.types import State

VERSION_KEY = "engine_version"
VERSION = "0.1.0"
# Lightning reads no file without it; from 2.0 on it changes nothing of what it loads of ours.
LIGHTNING_KEY, LIGHTNING = "pytorch-lightning_version", "2.0.0"
FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # torch's: for programs that can't be edited

_own: dict[bytes, None] = {}  # digests of what this process wrote, or its rank zero
_OWN_MOST = 10_000


def write(checkpoint: State, path: str | os.PathLike[str]) -> bytes:
    """Write a file that is there whole or not at all, even if the machine stops meanwhile.

    Returns the digest by which `note_own` lets it be read in full.
    """
    target = Path(path)
    make_folder(target.parent)
    _remove_left(target.parent)
    prefix = f".{target.name}.{_host()}-{os.getpid()}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
            digest = archive(file, os.fspath(target)).digest
            os.fchmod(file.fileno(), file_mode())  # mkstemp made it private
        os.replace(name, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        cause = _of_the_system(error)
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, os.fspath(target)) from error
    sync_folder(target.parent)
    return digest


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


def note_own(digest: bytes | None) -> None:
    """Remember what this process, or its rank zero, has just written."""
    if digest:
        _own[digest] = None
        while len(_own) > _OWN_MOST:
            del _own[next(iter(_own))]


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(path: Any, map_location: Any = "cpu", weights_only: bool = True) -> dict[str, Any]:
    """Read a checkpoint: of a path, of an open file, or of what opens one.

    Raises CheckpointError with what to do where that is not possible.
    """
    return read_in_full(path, map_location, weights_only)[0]


def read_in_full(path: Any, map_location: Any, weights_only: bool) -> tuple[dict[str, Any], bool]:
    """The same, and whether it was read in full: what is in it may run code, then."""
    name = called(path)
    weights_only &= os.environ.get(FORCE, "0").lower() not in ("1", "y", "yes", "true")
    try:
        with opened(path) as file:
            checked, weights_only = _checked(file, name, weights_only)
            checkpoint = torch.load(checked, map_location=map_location, weights_only=weights_only)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if not weights_only:
            raise CheckpointError(f"{name} is no checkpoint: {error}") from error
        raise CheckpointError(
            f"{name} holds more than plain data, and reading that can run code of "
            "whoever wrote it. If you trust the file, pass weights_only=False, or allow its "
            f"classes by torch.serialization.add_safe_globals, or set {FORCE}=1 for a program that "
            f"is not to be edited. It said: {_first_line(error)}"
        ) from error
    except Exception as error:  # a damaged file can say anything
        raise CheckpointError(
            f"{name} cannot be read; it may be damaged, or a part of a file. It said: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{name} is no checkpoint of a run")
    return checkpoint, not weights_only


def _checked(file: Any, name: str, weights_only: bool) -> tuple[Any, bool]:
    """A file for torch to load, and whether as plain data, after a look at what that will cost."""
    if not _check_beginning(file, name):
        if weights_only:
            at, size = file.tell(), file.seek(0, os.SEEK_END)
            file.seek(at)
            rehearse_old(file, size - at, name)
            file.seek(at)
        return file, weights_only
    if file.tell():  # torch reads an archive from the beginning of a file
        file = io.BytesIO(file.read())
    found = archive(file, name)
    weights_only = weights_only and found.digest not in _own
    if weights_only:
        rehearse(found.parts, found.pickle, found.size, name)
    return found.file, weights_only


def is_path(given: Any) -> bool:
    """Whether this is the path of a file, and not a file."""
    return isinstance(given, (str, bytes, os.PathLike))


def called(path: Any) -> str:
    """What a file is called in messages."""
    if is_path(path):
        return repr(os.fspath(path))
    name = getattr(path, "name", None) or getattr(path, "path", None)
    return repr(name) if isinstance(name, (str, bytes)) else f"the {type(path).__name__}"


@contextmanager
def opened(path: Any) -> Iterator[Any]:
    """An open file of a path, or of what opens one; an open one as it is, and where it stands."""
    if is_path(path):
        if not os.path.isfile(path):
            hint = ": that is a folder, give a file in it" if os.path.isdir(path) else ""
            raise CheckpointError(f"there is no checkpoint {called(path)}{hint}")
        with open(path, "rb") as file:
            yield file
    elif hasattr(path, "read"):
        yield from _as_it_stands(path)
    elif hasattr(path, "__enter__"):  # fsspec.open(...)
        with path as file:
            yield file
    elif hasattr(path, "open"):  # a path of another kind: in an archive, or elsewhere
        with path.open("rb") as file:
            yield file
    else:
        raise CheckpointError(f"a checkpoint is a path or an open file, not {called(path)}")


def _as_it_stands(file: Any) -> Iterator[Any]:
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        yield io.BytesIO(file.read())
        return
    place = file.tell()
    if place and not file.read(1):  # it was just written
        place = 0
    file.seek(place)
    try:
        yield file
    finally:
        file.seek(place)


def weights_in(checkpoint: State, name: str = "the file") -> dict[str, Any]:
    """The module's weights that a checkpoint holds."""
    if "state_dict" in checkpoint:
        weights: dict[str, Any] = checkpoint["state_dict"]
        return weights
    is_bare = checkpoint and all(isinstance(v, torch.Tensor) for v in checkpoint.values())
    hint = "; it is a bare state_dict: module.load_state_dict(torch.load(path))" if is_bare else ""
    raise CheckpointError(f"{name} holds no weights of a module ('state_dict' is missing){hint}")


def is_strict(module: Any) -> bool:
    """Whether a module takes only weights that are all of its own, and no others."""
    return bool(getattr(module, "strict_loading", True))


def differences(module: Any, state: Mapping[str, Any]) -> str:
    """Which weights only a module has, or only a file, where it is not loaded strictly."""
    mine = module.state_dict()
    lacks, has_more = [n for n in mine if n not in state], [n for n in state if n not in mine]
    said = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in ((lacks, "are not in the file"), (has_more, "are only in the file"))
        if names
    ]
    return f"of the weights of {type(module).__name__} {' and '.join(said)}" if said else ""


def _check_beginning(file: Any, name: str) -> bool:
    """Whether a file is an archive; False for one of before torch 1.6.

    What torch.save did not write is not unpickled, and nobody is told to trust it.
    """
    start = file.read(2)
    if isinstance(start, str):
        raise CheckpointError(f"{name} is open as text; open it as 'rb'")
    if start != b"PK" and start[:1] != b"\x80":
        raise CheckpointError(
            f"{name} is no checkpoint: torch.save does not begin a file with {start!r}"
        )
    file.seek(-len(start), os.SEEK_CUR)
    return bool(start == b"PK")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "nsupported" in line or "GLOBAL" in line]
    return (lines or str(error).splitlines() or [type(error).__name__])[0].strip()


# ---------------------------------------------------------------------- hyper-parameters


def put_hparams(checkpoint: State, module: Any, datamodule: Any) -> None:
    """Add the hyper-parameters of module and data module."""
    _put(checkpoint, "", module)
    if datamodule is not None:
        _put(checkpoint, "datamodule_", datamodule)


def _put(checkpoint: State, prefix: str, owner: object) -> None:
    key, params = f"{prefix}hyper_parameters", getattr(owner, "hparams", None)
    left_out = getattr(owner, "_hparams_left_out", None)
    if left_out:
        checkpoint[f"{prefix}hparams_left_out"] = left_out
    if not params:
        return
    checkpoint[f"{prefix}hparams_name"] = getattr(owner, "_hparams_name", None) or "kwargs"
    checkpoint[f"{prefix}hparams_kind"] = getattr(owner, "_hparams_kind", None)
    plain = checkpoint[key] = to_plain(params)
    configs = [name for name, value in params.items() if kind_of(value) == "omegaconf"]
    if configs:
        checkpoint[f"{key}_configs"] = configs
    objects = objects_of(params, plain)
    if objects:
        checkpoint[f"{key}_objects"] = objects


# ---------------------------------------------------------------------- callbacks


def callback_states(callbacks: list[Any], call_save: Any) -> State:
    """The states of all callbacks; `call_save` calls a callback's `on_save_checkpoint`."""
    states: State = {}
    for callback in callbacks:
        state, legacy = callback.state_dict(), call_save(callback)
        if state:
            states[callback.state_key] = state
        elif legacy is not None:
            states[callback.state_key] = {"legacy": legacy}
    return states


def restore_callbacks(callbacks: list[Any], states: State) -> None:
    """Give callbacks their states back; says which states nobody took."""
    keys = {callback.state_key for callback in callbacks}
    left = [key for key in states if key not in keys]
    if left:
        rank_zero_warn(f"the checkpoint holds states of callbacks that are not here: {left}")
    for callback in callbacks:
        state = states.get(callback.state_key)
        if state is not None and "legacy" not in state:
            callback.load_state_dict(state)
