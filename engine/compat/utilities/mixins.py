"""Classes that old programs inherit from, beside a module or data module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from engine.callbacks.monitors.gradients import grad_norm


class CheckpointHooks:
    """What is asked when a checkpoint is written or read."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See a checkpoint that is being loaded."""


class DataHooks:
    """Where data comes from; as `LightningDataModule`, without the rest of it."""

    def prepare_data(self) -> None:
        """Download and prepare, once a node."""

    def setup(self, stage: str | None = None) -> None:
        """Make datasets, in every process."""

    def teardown(self, stage: str | None = None) -> None:
        """Clean up, in every process."""


class ModelHooks:
    """A name only: every hook that a class has is called, whatever it inherits from."""


class GradInformation:
    """A model that tells the norms of its gradients."""

    def grad_norm(self, norm_type: float | str = 2) -> dict[str, torch.Tensor]:
        """The norm of each parameter's gradient, and of all of them."""
        model: Any = self
        return grad_norm(model, norm_type)


class DeviceDtypeModuleMixin(torch.nn.Module):
    """A torch module that knows where it is and in what it computes."""

    @property
    def device(self) -> torch.device:
        """Where its first tensor is."""
        return next((t.device for t in self.state_dict().values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What its first floating-point tensor is of."""
        found = (t.dtype for t in self.state_dict().values() if t.is_floating_point())
        return next(found, torch.get_default_dtype())


class TransferableDataType(ABC):
    """Anything with a method `to(device)`."""

    @abstractmethod
    def to(self, device: Any) -> Any:
        """The same on another device."""

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        to: Callable[..., Any] | None = getattr(other, "to", None)
        return callable(to) if cls is TransferableDataType else NotImplemented
