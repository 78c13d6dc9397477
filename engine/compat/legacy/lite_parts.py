"""What LightningLite puts around a model, an optimizer and a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from engine.loops.optimizers import LightningOptimizer
from engine.runtime.data.samplers import begin_epoch, mapped, move, with_type
from engine.strategies.precision import Precision

# Methods whose gradients are averaged like those of `forward`; others go round what averages.
_AVERAGED = ("training_step",)


class Called(torch.nn.Module):
    """A module, any method of which can be its `forward`: only what goes there is averaged."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str | None, *args: Any, **kwargs: Any) -> Any:
        """The module itself, or one of its methods."""
        called = self.module if name is None else getattr(self.module, name)
        return called(*args, **kwargs)


class LiteModule(torch.nn.Module):
    """A model as `setup` returns it: its `forward` computes in the run's precision.

    What else is asked of it is the model's own, its state too.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        around: Callable[[torch.nn.Module], torch.nn.Module],
        precision: Precision,
    ) -> None:
        super().__init__()
        self._own = module
        # Not a child: its parameters are the model's, which come once.
        self.__dict__["_parts"] = (around(Called(module)), precision)

    @property
    def module(self) -> Any:
        """The model that was given."""
        return self._own

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output; numbers of mixed precision come back in 32 bits."""
        return self._call(None, *args, **kwargs)

    def _call(self, name: str | None, *args: Any, **kwargs: Any) -> Any:
        wrapped, precision = self.__dict__["_parts"]
        if not precision.has_context:
            return wrapped(name, *args, **kwargs)
        with precision.context():
            output = wrapped(name, *args, **kwargs)
        return _in_32_bits(output) if precision.is_mixed else output

    def without_averaging(self, enabled: bool = True) -> AbstractContextManager[object]:
        """Within, gradients of the ranks stay apart."""
        no_sync = getattr(self.__dict__["_parts"][0], "no_sync", None)
        return no_sync() if enabled and no_sync is not None else nullcontext()

    @property
    def device(self) -> torch.device:
        """Where its first tensor is."""
        return next((t.device for t in self._own.state_dict().values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What its first floating-point tensor is of."""
        found = (t.dtype for t in self._own.state_dict().values() if t.is_floating_point())
        return next(found, torch.get_default_dtype())

    # The model's state is the same with and without what is around it.

    def train(self, mode: bool = True) -> LiteModule:
        """Set the mode of all."""
        self.__dict__["_parts"][0].train(mode)
        super().train(mode)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The model's."""
        return self._own.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Give it to the model."""
        return self._own.load_state_dict(state_dict, *args, **kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The model's, by its names."""
        return self._own.named_parameters(*args, **kwargs)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The model's, by its names."""
        return self._own.named_buffers(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("_modules", {}).get("_own")
        if own is None or name == "_own":
            return super().__getattr__(name)
        if name in _AVERAGED and callable(getattr(own, name, None)):
            return lambda *args, **kwargs: self._call(name, *args, **kwargs)
        return getattr(own, name)


def _in_32_bits(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        half = output.dtype in (torch.float16, torch.bfloat16)
        return output.to(torch.get_default_dtype()) if half else output
    return mapped(output, _in_32_bits)


class LiteOptimizer(LightningOptimizer):
    """An optimizer as `setup` returns it: its `step` knows the scale of the loss.

    A scheduler can be made with it, or with the optimizer inside.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "step":  # a scheduler counts the calls of what it was given
            self.__dict__["step"] = value
        else:
            super().__setattr__(name, value)


class LiteDataLoader:
    """A loader as `setup_dataloaders` returns it; each time it is walked through is an epoch."""

    def __init__(
        self,
        loader: Any,
        device: torch.device | None,
        dtype: torch.dtype | None,
        order: tuple[int, int] | None = None,
    ) -> None:
        self._loader = loader
        self._dtype = dtype
        self._order = order  # seed and rank, where ranks have their shares from the engine
        self._epoch = 0
        self.device = device

    def set_epoch(self, epoch: int) -> None:
        """The number that the next order of samples follows from; it goes on from there."""
        self._epoch = epoch

    @property
    def sampler(self) -> Any:
        """The loader's sampler; where the order is the engine's, what has a `set_epoch` for it."""
        return self._loader.sampler if self._order is None else self

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        if self._order is not None:
            seed, rank = self._order
            begin_epoch(self._loader, seed, self._epoch, rank)
            self._epoch += 1
        for batch in self._loader:
            given = batch if self.device is None else move(batch, self.device)
            yield given if self._dtype is None else with_type(given, self._dtype)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)
