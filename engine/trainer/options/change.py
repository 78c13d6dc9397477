"""Arguments that may change between two runs of a trainer: `trainer.limit_val_batches = 0`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from engine.runtime.settings import Settings
from engine.trainer.options.table import OPTIONS

# Each run reads these anew. Of all others something was made when the Trainer was.
CHANGEABLE = (
    *("min_epochs", "min_steps", "gradient_clip_val", "gradient_clip_algorithm"),
    *("val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"),
    *("log_every_n_steps", "flush_logs_every_n_steps", "truncated_bptt_steps"),
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("overfit_batches", "reload_dataloaders_every_n_epochs", "multiple_trainloader_mode"),
    *("auto_lr_find", "auto_scale_batch_size", "ckpt_path", "logger"),
)
_PARTS = ("fit", "data", "hardware", "output", "tune")


def changed(settings: Settings, name: str, value: Any) -> Settings:
    """The settings with another value of one argument; raises where it is a wrong one."""
    option = next(option for option in OPTIONS if option.name == name)
    read = option.read(value)
    for part in _PARTS:
        group = getattr(settings, part)
        if name in {field.name for field in fields(group)}:
            return replace(settings, **{part: replace(group, **{name: read})})
    raise AssertionError(f"{name} is in no group of settings")
