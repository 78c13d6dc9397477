"""From a trainer's arguments to its settings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import (
    DataSettings,
    FitSettings,
    HardwareSettings,
    OutputSettings,
    Settings,
    TuneSettings,
)
from engine.trainer.options.table import BY_NAME, OPTIONS

S = TypeVar("S")


def parse(given: Mapping[str, Any]) -> Settings:
    """The settings that a trainer's arguments mean; raises where one is unknown or wrong."""
    for name in given:
        if name not in BY_NAME:
            nearest = difflib.get_close_matches(name, BY_NAME, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"Trainer has no argument {name!r}{hint}")
    values = {
        option.name: option.read(given.get(option.name, option.default)) for option in OPTIONS
    }
    if values["barebones"]:
        _strip(values, given)
    if values["fast_dev_run"]:
        _shorten(values)
    if values["max_epochs"] is None and values["max_steps"] == -1:
        values["max_epochs"] = 1000 if values["max_time"] is None else -1
    return Settings(
        _take(FitSettings, values),
        _take(DataSettings, values),
        _take(HardwareSettings, values),
        _take(OutputSettings, values),
        _take(TuneSettings, values),
    )


def _take(settings: type[S], values: Mapping[str, Any]) -> S:
    names = [field.name for field in fields(settings)]  # type: ignore[arg-type]  # a dataclass
    return settings(**{name: values[name] for name in names})


_BARE: dict[str, Any] = {
    "detect_anomaly": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
    "fast_dev_run": 0,
    "log_gpu_memory": None,
    "logger": False,
    "num_sanity_val_steps": 0,
    "profiler": None,
    "terminate_on_nan": False,
    "track_grad_norm": -1,
}


def _strip(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """What barebones means: nothing that a training does not need."""
    for name, bare in _BARE.items():
        if given.get(name) not in (None, False, bare):
            raise MisconfigurationException(
                f"Trainer(barebones=True, {name}={given[name]!r}): barebones is without it; give "
                "one of the two"
            )
        values[name] = bare


def _shorten(values: dict[str, Any]) -> None:
    """What fast_dev_run means: a few batches of everything.

    Loggers and checkpoints are there without effect: what a module asks of them still works.
    """
    batches = values["fast_dev_run"]
    for name in ("train", "val", "test", "predict"):
        values[f"limit_{name}_batches"] = batches
    values.update(max_epochs=1, max_steps=batches, num_sanity_val_steps=0, val_check_interval=1.0)
    values.update(check_val_every_n_epoch=1, max_time=None)
