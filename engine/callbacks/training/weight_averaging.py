"""Averages of the weights that follow the training, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.callbacks.base import Callback
from engine.callbacks.training.swa import Average, running_mean
from engine.callbacks.training.whole_model import needs_whole_model

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch, State, StepOutput
    from engine.trainer.trainer import Trainer

OWN = "own_weights"  # the key of a checkpoint


class WeightAveraging(Callback):
    """Keeps an average of parameters and buffers, evaluates with it, and ends with it.

    The average is taken after each step for which `should_update` says so: by default every step.
    `avg_fn(average, value, count)` says how; by default it is the mean. While a validation runs
    the module has the averaged weights; full checkpoints hold them, and the others beside.

    Args:
        device: where the average is kept. By default None: where the module is.
        use_buffers: whether buffers, such as the statistics of batch norm, are averaged, too. By
            default True.
        avg_fn: `avg_fn(average, value, count)` returns the new average, tensors of one shape;
            `count` is how many values are in `average`. By default None: the mean.
    """

    def __init__(
        self,
        device: torch.device | str | None = None,
        use_buffers: bool = True,
        avg_fn: Average | None = None,
    ) -> None:
        self.device = device
        self.use_buffers = use_buffers
        self.avg_fn = avg_fn or running_mean
        self.count = 0
        self._seen_step = 0
        self._average: dict[str, torch.Tensor] = {}
        self._own: dict[str, torch.Tensor] = {}  # the module's weights while it has the average

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to take in the weights after this step, or after this epoch."""
        return step_idx is not None

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        average = {name: value.clone() for name, value in self._average.items()}
        return {"count": self.count, "average": average}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on with an average."""
        self.count = state_dict["count"]
        self._average = dict(state_dict["average"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: State
    ) -> None:
        """Save the average as the weights, and beside it those to train on with."""
        if self.count:
            weights = checkpoint["state_dict"]
            checkpoint[OWN] = self._own or {k: weights[k] for k in self._average if k in weights}
            checkpoint["state_dict"] = {**weights, **self._average}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: Any
    ) -> None:
        """Keep the weights to train on with."""
        self._own = dict(checkpoint.get(OWN, {}))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, or go on where a checkpoint was taken."""
        needs_whole_model(self, trainer)
        self._seen_step = trainer.global_step
        if not trainer.global_step:
            self.count, self._average, self._own = 0, {}, {}
        self._give_back(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        """Take in the weights after a step."""
        step = trainer.global_step
        if step != self._seen_step:
            self._seen_step = step
            if self.should_update(step_idx=step - 1):
                self._take_in(pl_module)

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Take in the weights after an epoch."""
        if self.should_update(epoch_idx=trainer.current_epoch):
            self._take_in(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the average."""
        if trainer.state.fn == "fit":
            self._lend(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on with the module's own weights."""
        self._give_back(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the module the average."""
        self._lend(pl_module)
        self._own = {}

    def _tensors(self, module: LightningModule) -> dict[str, torch.Tensor]:
        tensors = {name: value.detach() for name, value in module.named_parameters()}
        if self.use_buffers:
            tensors.update(module.named_buffers())
        return tensors

    def _take_in(self, module: LightningModule) -> None:
        for name, value in self._tensors(module).items():
            value = value if self.device is None else value.to(self.device)
            before = self._average.get(name)
            if before is None or not value.is_floating_point():
                self._average[name] = value.clone()
            else:
                self._average[name] = self.avg_fn(before.to(value.device), value, self.count)
        self.count += 1

    def _lend(self, module: LightningModule) -> None:
        if not self.count or self._own:
            return
        tensors = self._tensors(module)
        self._own = {name: value.clone() for name, value in tensors.items()}
        for name, value in tensors.items():
            value.copy_(self._average[name])

    def _give_back(self, module: LightningModule) -> None:
        if self._own:
            for name, value in self._tensors(module).items():
                value.copy_(self._own[name])
            self._own = {}


class EMAWeightAveraging(WeightAveraging):
    """An exponential moving average of the weights: `decay` of the old, the rest of the new.

    Args:
        device: where the average is kept. By default None: where the module is.
        use_buffers: whether buffers are averaged, too. By default True.
        decay: the weight of the old average, between 0 and 1. By default 0.999.
        update_every_n_steps: after every how many optimizer steps the average is updated. By
            default 1.
        update_starting_at_step: the first optimizer step that counts. By default None: the first.
    """

    def __init__(
        self,
        device: torch.device | str | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
    ) -> None:
        self.decay = decay
        self.every = update_every_n_steps
        self.first = update_starting_at_step or 0

        def average(before: torch.Tensor, value: torch.Tensor, count: Any) -> torch.Tensor:
            return torch.lerp(before, value, 1.0 - decay)

        super().__init__(device, use_buffers, average)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether it is the turn of this step."""
        if step_idx is None or step_idx < self.first:
            return False
        return (step_idx - self.first) % self.every == 0
