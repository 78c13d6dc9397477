"""Devices by Lightning's names: classes to ask, and `trainer.accelerator`, which shows a run."""

from __future__ import annotations

from typing import Any

import torch

from engine.runtime.errors import MisconfigurationException


class Accelerator:
    """A kind of device; of a trainer also what it computes with. Equal to its name as text.

    `Trainer(accelerator=GPUAccelerator(training_type_plugin=DDPPlugin()))` says device and
    strategy in one, as 1.2 to 1.5 had it.
    """

    kind = ""

    def __init__(self, precision_plugin: Any = None, training_type_plugin: Any = None) -> None:
        if precision_plugin is not None:
            raise MisconfigurationException(
                f"{type(self).__name__}(precision_plugin=...): say it to the Trainer, "
                "precision=16, 'bf16' or 64"
            )
        self._strategy = training_type_plugin
        self._trainer: Any = None

    @classmethod
    def of(cls, trainer: Any) -> Accelerator:
        """What a trainer computes with."""
        kind = trainer.strategy.root_device.type
        made = {"cuda": GPUAccelerator, "mps": MPSDevice}.get(kind, CPUAccelerator)()
        made._trainer = trainer
        return made

    @staticmethod
    def is_available() -> bool:
        """Whether there is one here."""
        return False

    @staticmethod
    def auto_device_count() -> int:
        """How many a run takes that does not say."""
        return 1

    @classmethod
    def name(cls) -> str:
        """What `Trainer(accelerator=...)` calls it."""
        return cls.kind

    def __eq__(self, other: object) -> bool:
        return self.kind == (other.kind if isinstance(other, Accelerator) else other)

    def __hash__(self) -> int:
        return hash(self.kind)

    def __str__(self) -> str:
        return self.kind

    # ------------------------------------------------------------------ of a trainer

    @property
    def trainer(self) -> Any:
        """The trainer that computes with it."""
        if self._trainer is None:
            raise MisconfigurationException(
                f"this {type(self).__name__} is of no trainer: ask trainer.accelerator"
            )
        return self._trainer

    @property
    def training_type_plugin(self) -> Any:
        """The strategy; before a trainer has it, what was given."""
        return self._strategy if self._trainer is None else self._trainer.strategy

    strategy = training_type_plugin

    @property
    def precision_plugin(self) -> Any:
        """What steps compute in, and the scaler of 16 bits."""
        return self.trainer.precision_plugin

    @property
    def precision(self) -> str | int:
        """What steps compute in, as it was given."""
        given: str | int = self.trainer.precision
        return given

    @property
    def amp_backend(self) -> Any:
        """Whose mixed precision it is."""
        return self.trainer.amp_backend

    @property
    def scaler(self) -> Any:
        """The scaler of 16 bits, None without."""
        return self.trainer.scaler

    @property
    def model(self) -> Any:
        """The module, within what averages its gradients."""
        return self.trainer.strategy.model

    @property
    def lightning_module(self) -> Any:
        """The module."""
        return self.trainer.lightning_module

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self.trainer.strategy.root_device
        return device

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers."""
        found: list[Any] = self.trainer.optimizers
        return found

    @property
    def lr_schedulers(self) -> list[Any]:
        """The schedulers."""
        found: list[Any] = self.trainer.lr_schedulers
        return found

    @property
    def optimizer_frequencies(self) -> list[int]:
        """For how many batches each optimizer has its turn."""
        found: list[int] = self.trainer.optimizer_frequencies
        return found

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""
        self.trainer.strategy.barrier(name)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object that rank `src` has."""
        return self.trainer.strategy.broadcast(obj, src)

    def all_gather(self, tensor: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """The tensors of all ranks, stacked."""
        return self.trainer.strategy.all_gather(tensor, group, sync_grads)

    def get_device_stats(self, device: Any = None) -> dict[str, Any]:
        """What torch counts of a device's memory; nothing of a processor."""
        return {}


class CPUAccelerator(Accelerator):
    """The processor."""

    kind = "cpu"

    @staticmethod
    def is_available() -> bool:
        """Always."""
        return True


class GPUAccelerator(Accelerator):
    """GPUs."""

    kind = "gpu"

    @staticmethod
    def is_available() -> bool:
        """Whether torch sees any."""
        return torch.cuda.is_available()

    @staticmethod
    def auto_device_count() -> int:
        """As many as torch sees."""
        return torch.cuda.device_count()

    def get_device_stats(self, device: Any = None) -> dict[str, Any]:
        """What torch counts of the device's memory."""
        return dict(torch.cuda.memory_stats(device))


class MPSDevice(Accelerator):
    """An Apple GPU."""

    kind = "mps"

    @staticmethod
    def is_available() -> bool:
        """Whether torch sees one."""
        return torch.backends.mps.is_available()
