"""How large gradients are."""

from __future__ import annotations

import torch


def grad_norm(
    module: torch.nn.Module, norm_type: float | int | str, group_separator: str = "/"
) -> dict[str, float]:
    """The norm of each parameter's gradient and of all of them, by the names they are logged under.

    They are plain numbers: looking at them waits for the device.
    """
    kind = float(norm_type)
    if kind <= 0:
        raise ValueError(f"norm_type is a positive number or 'inf', not {norm_type!r}")
    found = {
        name: torch.linalg.vector_norm(parameter.grad.detach(), kind)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if not found:
        return {}
    head = f"grad_{float(norm_type)}_norm"
    total = torch.linalg.vector_norm(torch.stack(list(found.values())), kind)
    norms = {f"{head}{group_separator}{name}": float(norm) for name, norm in found.items()}
    return {**norms, f"{head}_total": float(total)}
