"""What comes back from the ranks: collected on rank zero, and given to the caller's own objects.

Plain data and tensors only, so it is read without running code; what else the ranks made stays
with them.
"""

from __future__ import annotations

from typing import IO, Any

import torch

from engine.loggers.folders.base import FolderLogger
from engine.loops.optimizers import Optimization, SchedulerConfig
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.seed import random_state, set_random_state

_SCALARS = (bool, int, float, complex, str, type(None))
_MOST = 100_000  # numbers, texts and tensors of an attribute: what is more is no history, but data
_NOT_SHOWN = ("progress", "restored_metrics", "epoch_random", "left_by")  # of a trainer's state
_OF_TORCH = frozenset(vars(torch.nn.Module()))


class Kept:
    """An optimizer or scheduler of the ranks, of which the caller has the state only."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self.param_groups = state.get("param_groups", [])

    def state_dict(self) -> dict[str, Any]:
        """The state at the end of the run."""
        return self._state


def collect(trainer: Any, marks: Marks, is_whole: bool = True) -> dict[str, Any]:
    """What rank zero hands over; all ranks call it, unless the run failed (`is_whole` False)."""
    module, strategy, state = trainer.lightning_module, trainer.strategy, trainer.state
    back: dict[str, Any] = {}
    if is_whole or strategy.holds_all:
        weights = back["weights"] = strategy.module_state(module)
        # Not in a checkpoint, but a module that was trained here would have them.
        back["buffers"] = {n: b for n, b in module.named_buffers() if n not in weights}
    if is_whole and state.fn == "fit":
        made = trainer._optimization
        back["optimizers"] = [strategy.optimizer_state(one) for one in made.optimizers]
        back["schedulers"] = [one.scheduler.state_dict() for one in made.schedulers]
    if is_whole and state.progress.rest:  # of an epoch that a later fit goes on with
        left = state.restored_metrics, state.epoch_random
        back["left_by"] = distributed.gather_to_zero(left)
    logged = trainer._logged
    logged.callback_metrics()
    back["metrics"] = [dict(one) for one in (logged.epoch_callback, logged.epoch_bar, logged.sent)]
    back["progress"] = state.progress.state_dict()
    back["state"] = {n: v for n, v in _plain_attributes(state) if n not in _NOT_SHOWN}
    back["ckpt_path"] = trainer.ckpt_path
    back["random"] = {name: v for name, v in random_state().items() if name != "cuda"}
    back["callbacks"] = [
        {
            "kind": type(one).__qualname__,
            "attributes": _changed(one, marks),
            "state": state if _is_plain(state := one.state_dict(), [_MOST]) else None,
        }
        for one in trainer.callbacks
    ]
    back["module"] = _changed(module, marks)
    back["datamodule"] = _changed(trainer.datamodule, marks)
    loggers = [one for one in trainer.loggers if isinstance(one, FolderLogger)]
    back["versions"] = [one.version for one in loggers]
    return back


def write(back: dict[str, Any], file: IO[bytes]) -> None:
    """Write what was collected."""
    torch.save(back, file)
    file.flush()


def read(file: IO[bytes]) -> dict[str, Any]:
    """Read what rank zero wrote; tensors come to the CPU. Empty where it wrote nothing."""
    if not file.seek(0, 2):
        return {}
    file.seek(0)
    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return content


def take_over(trainer: Any, back: dict[str, Any]) -> Optimization:
    """Give trainer, module and callbacks of the caller what the ranks' have become.

    Returns the optimizers and schedulers of the ranks, as far as a checkpoint wants them.
    """
    module, logged, state = trainer.lightning_module, trainer._logged, trainer.state
    if "weights" in back:
        _load(module, back["weights"])
        buffers = dict(module.named_buffers())
        for name in buffers.keys() & back["buffers"].keys():
            buffers[name].data = back["buffers"][name]
    logged.epoch_callback, logged.epoch_bar, logged.sent = back["metrics"]
    vars(state.progress).update(back["progress"])
    _update(state, back["state"])
    state.left_by = back.get("left_by", state.left_by) if state.progress.rest else []
    trainer.ckpt_path = back["ckpt_path"]
    set_random_state(back["random"])
    for callback, part in zip(trainer.callbacks, back["callbacks"], strict=False):
        if part["kind"] != type(callback).__qualname__:
            continue  # a hook has changed the list there
        _update(callback, part["attributes"])
        if part["state"]:
            callback.load_state_dict(part["state"])
    _update(module, back["module"])
    if trainer.datamodule is not None:
        _update(trainer.datamodule, back["datamodule"])
    loggers = [one for one in trainer.loggers if isinstance(one, FolderLogger)]
    for logger, version in zip(loggers, back["versions"], strict=False):
        logger._version = version
    made = Optimization([Kept(one) for one in back.get("optimizers", [])])  # type: ignore[misc]  # in the optimizers' place
    made.schedulers.extend(SchedulerConfig(Kept(one)) for one in back.get("schedulers", []))
    return made


def _load(module: torch.nn.Module, weights: dict[str, Any]) -> None:
    """Weights and buffers; what the ranks have made of layers is named, as it can't be here."""
    with torch.no_grad():
        found = module.load_state_dict(weights, strict=False)
    if found.unexpected_keys:
        rank_zero_warn(
            f"the ranks' module has {found.unexpected_keys[0]!r}, which this process's has not: a "
            "hook made it there. It is in the checkpoints; to have it here, make layers in "
            "`__init__`"
        )


def _update(owner: Any, new: dict[str, Any]) -> None:
    """Set attributes; lists and dicts stay the same objects, which others may hold, too."""
    for name, value in new.items():
        old = vars(owner).get(name)
        if type(old) is list and type(value) is list:
            old[:] = value
        elif type(old) is dict and type(value) is dict:
            old.clear()
            old.update(value)
        else:
            vars(owner)[name] = value


# ---------------------------------------------------------------------- plain data

Marks = dict[int, dict[str, Any]]  # of each object by its id: its attributes, as they were


def marked(trainer: Any, given: dict[str, Any]) -> Marks:
    """How the plain attributes are that may change in a run: only what did is handed over."""
    module, datamodule = given["model"] or trainer.lightning_module, given["datamodule"]
    owners = [*trainer.callbacks, module, datamodule or trainer.datamodule]
    return {id(owner): {n: _mark(v) for n, v in _plain_attributes(owner)} for owner in owners}


def _changed(owner: Any, marks: Marks) -> dict[str, Any]:
    """The plain attributes of an object that are not as they were."""
    before = marks.get(id(owner), {})
    return {
        name: value
        for name, value in _plain_attributes(owner)
        if name not in before or before[name] != _mark(value)
    }


def _plain_attributes(owner: Any) -> list[tuple[str, Any]]:
    kept = vars(owner) if hasattr(owner, "__dict__") else {}
    is_module = isinstance(owner, torch.nn.Module)
    names = [name for name in kept if not (is_module and name in _OF_TORCH)]
    return [(name, kept[name]) for name in names if _is_plain(kept[name], [_MOST])]


def _is_plain(value: Any, left: list[int]) -> bool:
    """Whether it is numbers, text and tensors, in lists and dicts, and no more than `left`."""
    kind = type(value)
    left[0] -= 1
    if left[0] < 0:
        return False
    if kind is torch.Tensor:
        return not value.requires_grad
    if kind in (list, tuple, set):
        return all(_is_plain(one, left) for one in value)
    if kind is dict:
        names = all(type(name) in _SCALARS for name in value)
        return names and all(_is_plain(one, left) for one in value.values())
    return kind in _SCALARS


class _Mark:
    """A tensor as it was: the same one, with nothing written into it since.

    One of inference mode, as of a validation, does not tell: it counts as written into.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._version = None if tensor.is_inference() else tensor._version

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Mark)
            and self._tensor is other._tensor
            and self._version is not None
            and self._version == other._version
        )

    __hash__ = None  # type: ignore[assignment]  # only compared


def _mark(value: Any) -> Any:
    """Something that is equal to that of later only if the value is still the same."""
    if isinstance(value, torch.Tensor):
        return _Mark(value)
    if isinstance(value, dict):
        return {name: _mark(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [_mark(one) for one in value]
    return type(value), set(value) if isinstance(value, set) else value
