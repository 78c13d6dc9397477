"""Numbers of 16, 32 or 64 bits: what the steps compute in, and the scale of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

_NAMES: dict[str | int, str] = {
    16: "16-mixed",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "16-true": "16-true",
    "bf16": "bf16-mixed",
    "bf16-true": "bf16-true",
    "bf16-mixed": "bf16-mixed",
    32: "32-true",
    "32": "32-true",
    "32-true": "32-true",
    64: "64-true",
    "64": "64-true",
    "64-true": "64-true",
}
_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
# All numbers are of this type: parameters, what floats in batches, what steps make.
_TRUE = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64}


@dataclass(frozen=True)
class Precision:
    """How a run computes.

    `name` is one of 16-mixed, bf16-mixed, 16-true, bf16-true, 32-true, 64-true.
    The mixed ones keep parameters in 32 bits and run the steps under autocast, on CPUs as well as
    on GPUs; 16-mixed scales the loss by `scaler` so that small gradients survive. The true ones
    keep everything in their type.
    """

    name: str
    device_type: str
    scaler: torch.amp.GradScaler | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether steps run under autocast."""
        return self.name in _AUTOCAST

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of all numbers, where it is not the usual one; batches are given it, too."""
        return _TRUE.get(self.name)

    @property
    def precision(self) -> str | int:
        """Its number (or "bf16"), as 1.x names it."""
        return seed_precision(self.name)

    @property
    def has_context(self) -> bool:
        """Whether steps run in a context of this precision's."""
        return self.is_mixed or self.dtype is not None

    def context(self) -> AbstractContextManager[object]:
        """The context that steps run in."""
        return _default_type(self.dtype) if self.dtype is not None else self.autocast()

    def autocast(self) -> AbstractContextManager[object]:
        """The context of mixed precision; one without effect in any other."""
        if not self.is_mixed:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=_AUTOCAST[self.name])

    def convert(self, module: torch.nn.Module) -> None:
        """Give the module's parameters and buffers their type."""
        if self.dtype is not None:
            module.to(self.dtype)


def precision_name(value: str | int) -> str:
    """The full name of a precision, as 16, "bf16", "16-mixed" or 32 were given."""
    if value not in _NAMES:
        raise ValueError(f"one of {', '.join(sorted({str(name) for name in _NAMES}))}")
    return _NAMES[value]


def make_precision(name: str, device: torch.device) -> Precision:
    """The precision of a run on `device`."""
    scaler = torch.amp.GradScaler(device.type) if name == "16-mixed" else None
    return Precision(name, device.type, scaler)


def seed_precision(given: str | int) -> str | int:
    """The precision as 1.x names it: 16, 32, 64 or "bf16"."""
    names: dict[str, str | int] = {"16-mixed": 16, "16-true": 16, "32-true": 32, "64-true": 64}
    return names.get(precision_name(given), "bf16")


def said_precision(given: str | int | None) -> str | int:
    """As it was given, in the words of 1.x or of 2.x, with numbers as such: for who compares it."""
    if given is None:
        return 32
    return int(given) if str(given).isdigit() else given


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
