"""The hooks of a module that do nothing until they are overridden.

They are there for `super().on_train_start()` in an override, and for whoever looks up what there
is. None of them is ever called itself: see `engine.loops.hooks`.
"""

from __future__ import annotations

from typing import Any

import torch


class ModuleHooks(torch.nn.Module):
    """Every hook that a module may have; an override takes the arguments that it names."""

    prepare_data_per_node = True  # False: `prepare_data` in one process of all nodes

    # ------------------------------------------------------------------ a run

    def configure_model(self) -> None:
        """Make layers late, when it is known where they go."""

    def configure_sharded_model(self) -> None:
        """As `configure_model`, by its name of 1.x."""

    def on_fit_start(self) -> None:
        """`fit` begins."""

    def on_fit_end(self) -> None:
        """`fit` ends."""

    def on_pretrain_routine_start(self) -> None:
        """Before the training, all is set up."""

    def on_pretrain_routine_end(self) -> None:
        """The training is about to begin."""

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        """The training begins."""

    def on_train_end(self) -> None:
        """The training ends."""

    def on_epoch_start(self) -> None:
        """An epoch of training or evaluation begins."""

    def on_epoch_end(self) -> None:
        """An epoch of training or evaluation ends."""

    def on_train_epoch_start(self) -> None:
        """An epoch of training begins."""

    def on_train_epoch_end(self, *args: Any) -> None:
        """An epoch of training ends; an override that names an argument gets the outputs."""

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> Any:
        """Before a batch; an override that returns -1 skips the rest of the epoch."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """After a batch: outputs, batch, index."""

    def on_batch_start(self) -> Any:
        """Before a batch of training, as before 1.0."""

    def on_batch_end(self) -> None:
        """After a batch of training, as before 1.0."""

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """Before gradients are forgotten."""

    def on_before_backward(self, loss: Any) -> None:
        """Before gradients are computed."""

    def on_after_backward(self) -> None:
        """After gradients were computed."""

    def on_before_optimizer_step(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Before an optimizer steps."""

    # ------------------------------------------------------------------ evaluation

    def on_validation_start(self) -> None:
        """Validation begins."""

    def on_validation_end(self) -> None:
        """Validation ends."""

    def on_validation_epoch_start(self) -> None:
        """An epoch of validation begins."""

    def on_validation_epoch_end(self, *args: Any) -> None:
        """An epoch of validation ends."""

    def on_validation_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Before a batch: batch, index, loader."""

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """After a batch: outputs, batch, index, loader."""

    def on_test_start(self) -> None:
        """A test begins."""

    def on_test_end(self) -> None:
        """A test ends."""

    def on_test_epoch_start(self) -> None:
        """An epoch of a test begins."""

    def on_test_epoch_end(self, *args: Any) -> None:
        """An epoch of a test ends."""

    def on_test_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Before a batch: batch, index, loader."""

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """After a batch: outputs, batch, index, loader."""

    def on_validation_model_eval(self) -> None:
        """Go to eval mode."""
        self.eval()

    def on_validation_model_train(self) -> None:
        """Back to training mode."""
        self.train()

    def on_test_model_eval(self) -> None:
        """Go to eval mode."""
        self.eval()

    def on_test_model_train(self) -> None:
        """Back to training mode."""
        self.train()

    # ------------------------------------------------------------------ prediction

    def on_predict_start(self) -> None:
        """Prediction begins."""

    def on_predict_model_eval(self) -> None:
        """Go to eval mode."""
        self.eval()

    def on_predict_model_train(self) -> None:
        """Back to training mode."""
        self.train()

    def on_predict_end(self) -> None:
        """Prediction ends."""

    def on_predict_epoch_start(self) -> None:
        """An epoch of prediction begins."""

    def on_predict_epoch_end(self, *args: Any) -> None:
        """An epoch of prediction ends."""

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Before a batch: batch, index, loader."""

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """After a batch: outputs, batch, index, loader."""

    # ------------------------------------------------------------------ after steps and epochs

    def training_step_end(self, step_output: Any) -> Any:
        """What becomes of a training step's output."""
        return step_output

    def validation_step_end(self, step_output: Any) -> Any:
        """What becomes of a validation step's output."""
        return step_output

    def test_step_end(self, step_output: Any) -> Any:
        """What becomes of a test step's output."""
        return step_output

    def training_epoch_end(self, outputs: Any) -> None:
        """An epoch's outputs: one for each batch; without an override none is kept."""

    def validation_epoch_end(self, outputs: Any) -> None:
        """A validation's outputs: one for each batch; without an override none is kept."""

    def test_epoch_end(self, outputs: Any) -> None:
        """A test's outputs: one for each batch; without an override none is kept."""

    # ------------------------------------------------------------------ loaders

    def on_train_dataloader(self) -> None:
        """`train_dataloader` is about to be asked."""

    def on_val_dataloader(self) -> None:
        """`val_dataloader` is about to be asked."""

    def on_test_dataloader(self) -> None:
        """`test_dataloader` is about to be asked."""

    def on_predict_dataloader(self) -> None:
        """`predict_dataloader` is about to be asked."""
