"""Callbacks that need all of a model on each rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.trainer.trainer import Trainer


def needs_whole_model(callback: object, trainer: Trainer) -> None:
    """Raise where the ranks divide the model among them."""
    if not trainer.strategy.holds_all:
        raise MisconfigurationException(
            f"{type(callback).__name__} works on whole parameters, which no rank has where they "
            "are divided: use strategy='ddp', or leave it out"
        )
