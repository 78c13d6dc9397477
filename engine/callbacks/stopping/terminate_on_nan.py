"""The end of a training whose numbers are no numbers any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engine.callbacks.base import Callback

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class TerminateOnNaN(Callback):
    """Raises at the first loss, and after each batch at the first parameter, that is not finite.

    It looks at every batch and so waits for the device in each.
    """

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor
    ) -> None:
        """Look at the loss before it spoils the gradients."""
        if not bool(torch.isfinite(loss.detach()).all()):
            value = float(loss.detach().reshape(-1)[0])
            raise ValueError(
                f"the loss is {value} in batch {trainer.state.progress.batch} of epoch "
                f"{trainer.current_epoch} (step {trainer.global_step}){_of_rank(trainer)}; "
                "Trainer(detect_anomaly=True) names the operation"
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Look at what the step has made of the parameters."""
        named = list(pl_module.named_parameters())
        if not named:
            return
        # One answer from the device for all of them; names are looked up only if there is need.
        finite = torch.stack([p.detach().isfinite().all() for _, p in named])
        if bool(finite.all()):
            return
        bad = [name for (name, _), ok in zip(named, finite.tolist(), strict=True) if not ok]
        batch = trainer.state.progress.batch - 1
        raise ValueError(
            f"{len(bad)} of {len(named)} parameters are not finite after batch {batch} of epoch "
            f"{trainer.current_epoch} (step {trainer.global_step}){_of_rank(trainer)}: "
            f"{', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}"
        )


def _of_rank(trainer: Trainer) -> str:
    return f" on rank {trainer.global_rank}" if trainer.world_size > 1 else ""
