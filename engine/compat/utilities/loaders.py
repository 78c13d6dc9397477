"""Loaders as 1.3 to 1.9 showed them."""

from __future__ import annotations

from torch.utils.data import DataLoader


def show_loaders() -> None:
    """`trainer.train_dataloader` was something with `loaders`, for one loader, too."""
    if not hasattr(DataLoader, "loaders"):
        DataLoader.loaders = property(lambda loader: loader)  # type: ignore[attr-defined]  # new
