"""What `configure_optimizers` may return, and the schedulers' part of it."""

from __future__ import annotations

import difflib
import dis
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException


@dataclass
class SchedulerConfig:
    """A scheduler, and when it is stepped."""

    scheduler: Any
    name: str | None = None
    interval: str = "epoch"  # epoch or step
    frequency: int = 1
    monitor: str | None = None
    strict: bool = True
    reduce_on_plateau: bool = False
    opt_idx: int | None = None


@dataclass
class Optimization:
    """The optimizers and schedulers of a run."""

    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    schedulers: list[SchedulerConfig] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)  # of each optimizer, or none at all
    is_assigned: bool = False  # trainer.optimizers was set while no run could use them
    changed: Callable[[], None] | None = None  # told while optimizers are being stepped

    def assign(self, optimizers: Any, is_running: bool) -> None:
        """Put other optimizers in the place of these; what steps them takes the new ones."""
        if not isinstance(optimizers, (list, tuple)):
            raise MisconfigurationException(
                f"trainer.optimizers is a list of optimizers, not a {type(optimizers).__name__}: "
                "trainer.optimizers = [optimizer]"
            )
        bare = [vars(o)["optimizer"] if type(o) is LightningOptimizer else o for o in optimizers]
        for optimizer in bare:
            if not isinstance(optimizer, torch.optim.Optimizer):
                raise MisconfigurationException(
                    f"trainer.optimizers = [...] takes torch optimizers, not {_describe(optimizer)}"
                )
        if self.frequencies and len(bare) != len(self.optimizers):
            raise MisconfigurationException(
                f"trainer.optimizers has {len(self.optimizers)} optimizers with frequencies, and "
                f"{len(bare)} were assigned: configure_optimizers says whose turn it is"
            )
        self.optimizers[:] = bare
        self.is_assigned = not is_running
        for config in self.schedulers:
            config.opt_idx = _index_of(getattr(config.scheduler, "optimizer", None), bare)
        if is_running and self.changed is not None:
            self.changed()


_FORMS = (
    "configure_optimizers returned {what}; it may return an optimizer, a list of them, "
    "([optimizers], [schedulers]), {{'optimizer': ..., 'lr_scheduler': ..., 'frequency': ...}}, "
    "several such dicts, or None"
)


def configure(
    returned: Any, is_automatic: bool = True, max_epochs: int | None = None
) -> Optimization:
    """Optimizers and schedulers of any form that `configure_optimizers` may return.

    Unless `is_automatic`, the module steps its schedulers itself.
    """
    optimizers, schedulers, frequencies = _split(returned)
    if not optimizers:
        rank_zero_warn(
            f"no optimizer: `configure_optimizers` returned {returned!r}, nothing is learned"
        )
    for optimizer in optimizers:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise MisconfigurationException(_FORMS.format(what=_describe(optimizer)))
    configs = [_scheduler_config(s, is_automatic) for s in schedulers]
    for config in configs:
        _warn_of_stranger(config, optimizers)
        if config.opt_idx is None:
            config.opt_idx = _index_of(getattr(config.scheduler, "optimizer", None), optimizers)
        elif not 0 <= config.opt_idx < len(optimizers):
            raise MisconfigurationException(
                f"a scheduler has opt_idx={config.opt_idx}; there are {len(optimizers)} optimizers"
            )
    for config in configs if is_automatic else ():
        _warn_of_cycle(config, max_epochs)
    return Optimization(optimizers, configs, frequencies)


def _warn_of_stranger(config: SchedulerConfig, optimizers: list[Any]) -> None:
    """A scheduler of an optimizer that was not returned changes no learning rate that counts."""
    groups = getattr(getattr(config.scheduler, "optimizer", None), "param_groups", [])
    known = {id(group) for optimizer in optimizers for group in optimizer.param_groups}
    if groups and not any(id(group) in known for group in groups):  # a wrapper has those of another
        rank_zero_warn(
            f"configure_optimizers: {type(config.scheduler).__name__} was made for an optimizer "
            "that is not among those that are returned: it changes no learning rate of theirs",
            RuntimeWarning,
        )


def _warn_of_cycle(config: SchedulerConfig, max_epochs: int | None) -> None:
    """One cycle is counted in steps, unless it is as short as the epochs."""
    if config.interval != "epoch" or not isinstance(config.scheduler, OneCycleLR):
        return
    total = config.scheduler.total_steps * config.frequency
    if max_epochs is None or max_epochs < 0 or total > max_epochs:
        rank_zero_warn(
            f"OneCycleLR has {config.scheduler.total_steps} steps and is stepped once an epoch: "
            "for a step after each batch return {'scheduler': ..., 'interval': 'step'}",
            RuntimeWarning,
        )


def _index_of(optimizer: Any, optimizers: list[Any]) -> int | None:
    return next((i for i, one in enumerate(optimizers) if one is optimizer), None)


def _split(returned: Any) -> tuple[list[Any], list[Any], list[int]]:
    if returned is None:
        return [], [], []
    if isinstance(returned, Mapping):
        return *_of_dict(returned), []
    if not isinstance(returned, (list, tuple)):
        return [returned], [], []
    parts = list(returned)
    if len(parts) == 2 and isinstance(parts[0], (list, tuple)):
        second = parts[1]
        schedulers = list(second) if isinstance(second, (list, tuple)) else [second]
        return list(parts[0]), [s for s in schedulers if s is not None], []
    if parts and all(isinstance(part, Mapping) for part in parts):
        split = [_of_dict(part) for part in parts]
        optimizers, schedulers = (
            [o for os, _ in split for o in os],
            [s for _, ss in split for s in ss],
        )
        return optimizers, schedulers, _frequencies([part.get("frequency") for part in parts])
    return parts, [], []


def _frequencies(given: list[Any]) -> list[int]:
    if all(one is None for one in given):
        return []
    if any(not isinstance(one, int) or one < 1 for one in given):
        raise MisconfigurationException(
            "each optimizer's 'frequency' is a number of batches from 1 on, or none has one; these "
            f"are {given}"
        )
    return given


_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor", "frequency")


def _warn_of(what: str, unknown: list[str], known: Sequence[str]) -> None:
    near = {key: difflib.get_close_matches(str(key), known, 1) for key in unknown}
    said = [
        f"{key!r}" + (f" (did you mean {near[key][0]!r}?)" if near[key] else "") for key in near
    ]
    rank_zero_warn(
        f"configure_optimizers: {what} has keys of {list(known)}; without effect: "
        f"{', '.join(said)}",
        RuntimeWarning,
    )


def _of_dict(returned: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    unknown = sorted(set(returned) - set(_OPTIMIZER_KEYS))
    if "optimizer" not in returned:
        raise MisconfigurationException(_FORMS.format(what=f"a dict of {sorted(returned)}"))
    if unknown:
        _warn_of("an optimizer's dict", unknown, _OPTIMIZER_KEYS)
    scheduler = returned.get("lr_scheduler")
    if scheduler is None:
        return [returned["optimizer"]], []
    if "monitor" in returned:
        given = scheduler if isinstance(scheduler, Mapping) else {"scheduler": scheduler}
        scheduler = {"monitor": returned["monitor"], **given}
    return [returned["optimizer"]], [scheduler]


def _describe(value: Any) -> str:
    return f"something with a {type(value).__name__}"


def _scheduler_config(given: Any, needs_monitor: bool) -> SchedulerConfig:
    if not isinstance(given, Mapping):
        given = {"scheduler": given}
    known = {f.name for f in fields(SchedulerConfig)}
    if "scheduler" not in given:
        raise MisconfigurationException(
            f"a scheduler's dict has keys of {sorted(known)}, 'scheduler' among them; "
            f"this one has {sorted(given)}"
        )
    unknown = sorted(set(given) - known)
    if unknown:
        _warn_of("a scheduler's dict", unknown, sorted(known))
    config = SchedulerConfig(**{key: given[key] for key in given if key in known})
    if isinstance(config.scheduler, type):
        raise MisconfigurationException(
            f"the scheduler is the class {config.scheduler.__name__}; give an instance of it: "
            f"{config.scheduler.__name__}(optimizer, ...)"
        )
    if not callable(getattr(config.scheduler, "step", None)):
        raise MisconfigurationException(
            "a scheduler has a `step()`, and each optimizer's dict one scheduler; this is a "
            f"{type(config.scheduler).__name__}. Several go beside their optimizers: "
            "return [optimizers], [schedulers]"
        )
    if config.interval not in ("epoch", "step"):
        raise MisconfigurationException(
            f"a scheduler's interval is 'epoch' or 'step', not {config.interval!r}"
        )
    if not config.frequency or config.frequency < 1:
        raise MisconfigurationException(
            f"a scheduler's frequency is a number of 1 or more, not {config.frequency!r}"
        )
    if isinstance(config.scheduler, ReduceLROnPlateau):
        config.reduce_on_plateau = True
    if needs_monitor and config.reduce_on_plateau and config.monitor is None:
        raise MisconfigurationException(
            "ReduceLROnPlateau needs a metric to look at: {'scheduler': ..., 'monitor': 'val_loss'}"
        )
    return config


class LightningOptimizer:
    """An optimizer as a module steps it: its `step` does all that belongs to that.

    Everything else is the optimizer's own.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, take_step: Any, turn: Any = None) -> None:
        self.__dict__.update(optimizer=optimizer, _take_step=take_step, _turn=turn)

    def step(self, closure: Any = None, **kwargs: Any) -> Any:
        """Unscale, clip and step; `closure` computes the gradients."""
        return self._take_step(closure, **kwargs)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Within, only this optimizer's parameters need gradients.

        `sync_grad=False` leaves gradients of the ranks apart, for all but the last batch of a
        window. In automatic optimisation all this is done already.
        """
        if self._turn is None:
            yield
        else:
            with self._turn(sync_grad):
                yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["optimizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["optimizer"], name, value)

    @property  # type: ignore[misc]  # isinstance(it, Adam) holds for a wrapped Adam
    def __class__(self) -> type:
        return type(self.__dict__["optimizer"])


def asks_for_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer is stepped with a closure, as Lightning steps all.

    Of torch's own only LBFGS needs one. Others may call it without asking whether there is one.
    """
    step = type(optimizer).step
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is None:
        return False
    if closure.default is inspect.Parameter.empty or isinstance(optimizer, torch.optim.LBFGS):
        return True
    return step.__module__.partition(".")[0] != "torch" and _reads(step, "closure")


def _reads(function: Any, name: str) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and any(
        one.argval == name for one in dis.get_instructions(code) if one.opname.startswith("LOAD")
    )
