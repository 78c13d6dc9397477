"""How large gradients are."""

from __future__ import annotations

import torch


def grad_norm(
    module: torch.nn.Module, norm_type: float | int | str, group_separator: str = "/"
) -> dict[str, torch.Tensor]:
    """The p-norm of each gradient, `grad_2.0_norm/name`, and of all, `grad_2.0_norm_total`.

    Nothing here waits for the device.
    """
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
