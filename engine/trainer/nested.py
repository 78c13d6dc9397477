"""A verb that is called while another one runs: `trainer.validate(...)` in a hook of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch

from engine.module.logging.results import LoggedValues

# What a run leaves on its trainer, and what of the state belongs to one run.
_PARTS = (
    "_run",
    "_logged",
    "_at_end",
    "lightning_module",
    "datamodule",
    "given_loaders",
    "callbacks",
)
_LOADERS = ("val_dataloaders", "test_dataloaders", "predict_dataloaders")
_FLAGS = ("training", "validating", "testing", "predicting", "sanity_checking")
_COUNTS = ("num_val_batches", "num_test_batches", "evaluated_batches")
_STATE = (*_FLAGS, "fn", "status", "already_complete", *_COUNTS)


@contextmanager
def aside(trainer: Any, verb: str) -> Iterator[None]:
    """Keep what belongs to the run around this one, if there is any, and put it back afterwards.

    The inner run has flags and logged values of its own; the optimizers' progress is shared.
    """
    level, state = trainer._level, trainer._state
    is_inner = level > 0 and verb != "fit"
    trainer._level = level + 1 if is_inner else 1
    kept: dict[str, Any] = {}
    kept_state: dict[str, Any] = {}
    if is_inner:
        kept = {name: getattr(trainer, name) for name in (*_PARTS, *_LOADERS)}
        kept_state = {name: getattr(state, name) for name in _STATE}
        vars(state).update(dict.fromkeys(_FLAGS, False))
        trainer._logged = LoggedValues(trainer._settings.output.move_metrics_to_cpu)
        trainer._at_end = ExitStack()
        trainer._logged.flushes = kept["_logged"].flushes
    try:
        yield
    finally:
        trainer._at_end.close()
        trainer._level = level
        vars(trainer).update(kept)
        vars(state).update(kept_state)


def taking_part(callbacks: list[Any]) -> list[Any]:
    """The callbacks of an inner run: those that follow a metric of the outer one rest."""
    return [one for one in callbacks if not hasattr(one, "monitor")]


def weights_of(module: torch.nn.Module) -> Callable[[], None]:
    """Keep a module's weights; what is returned puts them back."""
    kept = {
        name: value.detach().clone() if isinstance(value, torch.Tensor) else deepcopy(value)
        for name, value in module.state_dict().items()
    }

    def put_back() -> None:
        module.load_state_dict(kept, strict=getattr(module, "strict_loading", True))

    return put_back
