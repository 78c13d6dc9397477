"""The tuner's verbs as functions of a trainer."""

from __future__ import annotations

from typing import Any

from engine.tuner import Tuner


def lr_find(trainer: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Find a learning rate."""
    return Tuner(trainer).lr_find(model, *args, **kwargs)


def scale_batch_size(trainer: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Find a batch size."""
    return Tuner(trainer).scale_batch_size(model, *args, **kwargs)
