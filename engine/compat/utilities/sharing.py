"""Parameters that a model has in several places, and values over the last steps."""

from __future__ import annotations

from typing import Any

import torch


def find_shared_parameters(module: torch.nn.Module) -> list[list[str]]:
    """The names of parameters that are one, together."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(
    module: torch.nn.Module, shared_params: list[list[str]]
) -> torch.nn.Module:
    """Make the parameters of these names one again, that of the first name."""
    for first, *others in shared_params:
        parameter = module.get_parameter(first)
        for name in others:
            owner, _, last = name.rpartition(".")
            setattr(module.get_submodule(owner), last, parameter)
    return module


class TensorRunningAccum:
    """The last `window_length` values, and what they come to."""

    def __init__(self, window_length: int) -> None:
        self.window_length = window_length
        self.reset(window_length)

    def reset(self, window_length: int) -> None:
        """Forget all values, and keep so many from now on."""
        self.window_length = window_length
        self.memory: list[torch.Tensor] = []
        self.last_value: torch.Tensor | None = None

    def append(self, value: Any) -> None:
        """The next value."""
        self.last_value = torch.as_tensor(value).detach()
        self.memory = [*self.memory, self.last_value][-self.window_length :]

    def last(self) -> torch.Tensor | None:
        """The value that came last; None before the first."""
        return self.last_value

    def mean(self) -> torch.Tensor | None:
        """The mean of all that are kept; None without any."""
        return torch.stack(self.memory).float().mean() if self.memory else None

    def max(self) -> torch.Tensor | None:
        """The largest of them."""
        return torch.stack(self.memory).max() if self.memory else None

    def min(self) -> torch.Tensor | None:
        """The smallest of them."""
        return torch.stack(self.memory).min() if self.memory else None
