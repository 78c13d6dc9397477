"""The base class of all callbacks: every hook, doing nothing.

Hooks that a callback does not override are never called, so a method here costs nothing. An
override may take fewer trailing arguments than the hook offers (`dataloader_idx`, `opt_idx` and
`unused` came and went between versions). This module imports nothing of the family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch, State, StepOutput
    from engine.trainer.trainer import Trainer


class Callback:
    """Something that happens beside the training: override the hooks you need.

    `trainer` is the running `Trainer` (read it, do not write to it), `pl_module` the
    `LightningModule`. A callback with an attribute `monitor` looks at metrics: in the hooks that
    end an epoch or a validation it is called after the module's own hook, so that it sees what
    that hook logged. Callbacks with an attribute `best_model_path` come last of all.
    """

    @property
    def state_key(self) -> str:
        """Key of its state in a checkpoint; override it where several of one class are used."""
        return type(self).__qualname__

    def state_dict(self) -> State:
        """Plain data to be kept in a checkpoint."""
        return {}

    def load_state_dict(self, state_dict: State) -> None:
        """Take back what `state_dict` returned."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: State
    ) -> Any:
        """Add to `checkpoint`, or return this callback's own state (the 1.x way)."""

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: Any
    ) -> None:
        """Take back the state `on_save_checkpoint` returned, else see the whole checkpoint."""

    # ------------------------------------------------------------------ a program's outline

    def on_init_start(self, trainer: Trainer) -> None:
        """The trainer is being made."""

    def on_init_end(self, trainer: Trainer) -> None:
        """The trainer has been made."""

    def on_before_accelerator_backend_setup(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        """Data is prepared, the model not yet set up."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """A run begins; `stage` is fit, validate, test or predict."""

    def on_configure_sharded_model(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before `configure_sharded_model` of the module."""

    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None
    ) -> None:
        """A run has ended."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit begins; model, optimizers and loggers are there."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit has ended."""

    def on_pretrain_routine_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `on_fit_start` (1.x)."""

    def on_pretrain_routine_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the sanity check (1.x)."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A few validation batches are about to run."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The sanity check has passed."""

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """An exception, Ctrl-C too, is about to leave the trainer."""

    def on_keyboard_interrupt(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ctrl-C (1.x)."""

    # ------------------------------------------------------------------ training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first epoch is about to begin."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch has ended."""

    def on_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch of training, validation or test begins (1.x)."""

    def on_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch of training, validation or test has ended (1.x)."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training epoch begins."""

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """A training epoch has ended; epoch metrics are there."""

    def on_batch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training batch begins (1.x)."""

    def on_batch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training batch has ended (1.x)."""

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        """A training batch is on the device."""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        """A training batch is done; `outputs` has the detached `loss`, None for a skipped one."""

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor
    ) -> None:
        """Before `loss.backward()`; the loss is already divided by the accumulation."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gradients are there, not yet unscaled or clipped."""

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        optimizer: torch.optim.Optimizer,
        opt_idx: int = 0,
    ) -> None:
        """Gradients are unscaled, not yet clipped."""

    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Before gradients are set to None."""

    # ------------------------------------------------------------------ validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation begins."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation has ended."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model is in eval mode, gradients are off."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All validation batches are done."""

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation batch is on the device."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation batch is done."""

    # ------------------------------------------------------------------ test

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test begins."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test has ended."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model is in eval mode, gradients are off."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All test batches are done."""

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A test batch is on the device."""

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A test batch is done."""

    # ------------------------------------------------------------------ predict

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction begins."""

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction has ended."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model is in eval mode, gradients are off."""

    def on_predict_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput = None
    ) -> None:
        """All batches are predicted; `outputs` has one list per loader, of this rank."""

    def on_predict_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch to predict is on the device."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch is predicted."""
