"""How large gradients are, logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.callbacks.base import Callback
from engine.callbacks.monitors.gradients import grad_norm

if TYPE_CHECKING:
    import torch

    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class GradientNorm(Callback):
    """Logs the p-norm of each parameter's gradient and of all of them, before they are clipped.

    As often as other values, every `log_every_n_steps`; the numbers stay on the device till then.
    """

    def __init__(self, norm_type: float | str = 2.0) -> None:
        self.norm_type = float(norm_type)

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        optimizer: torch.optim.Optimizer,
        opt_idx: int = 0,
    ) -> None:
        """Log the norms, if this step is one that loggers hear of."""
        every = trainer.log_every_n_steps
        if every and (trainer.global_step + 1) % every == 0:
            norms = grad_norm(pl_module, self.norm_type)
            pl_module.log_dict(norms, on_step=True, on_epoch=False)
