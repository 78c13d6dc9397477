"""How large gradients are, logged."""

from __future__ import annotations

from typing import Any

import torch

from engine.callbacks.base import Callback


class GradientNorm(Callback):
    """Logs the p-norm of each parameter's gradient and of all of them, before they are clipped.

    As often as other values, every `log_every_n_steps`; the numbers stay on the device till then.
    """

    def __init__(self, norm_type: float | str = 2.0) -> None:
        self.norm_type = float(norm_type)

    def on_before_optimizer_step(
        self, trainer: Any, pl_module: Any, optimizer: Any, opt_idx: int = 0
    ) -> None:
        """Log the norms, if this step is one that loggers hear of."""
        every = trainer.log_every_n_steps
        if every and (trainer.global_step + 1) % every == 0:
            norms = grad_norm(pl_module, self.norm_type)
            pl_module.log_dict(norms, on_step=True, on_epoch=False)


def grad_norm(
    module: torch.nn.Module, norm_type: float | int | str, group_separator: str = "/"
) -> dict[str, torch.Tensor]:
    """The p-norm of each gradient, `grad_2.0_norm/name`, and of all, `grad_2.0_norm_total`."""
    norm_type = float(norm_type)
    if norm_type <= 0:
        raise ValueError(f"a norm's p is above 0 or 'inf', not {norm_type}")
    norms = {
        f"grad_{norm_type}_norm{group_separator}{name}": torch.linalg.vector_norm(
            parameter.grad.detach(), norm_type
        )
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if norms:
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())), norm_type)
        norms[f"grad_{norm_type}_norm_total"] = total
    return norms
