"""A module in other forms: frozen, as TorchScript, as ONNX."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.module.hooks import ModuleHooks
from engine.runtime.errors import MisconfigurationException


class ModuleExports(ModuleHooks):
    """What a module can be made to be."""

    __jit_unused_properties__: list[str]

    example_input_array: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # TorchScript would compile every property; ours speak of a run, which no script has.
        ours = [vars(one) for one in cls.__mro__ if one.__module__.startswith("engine.")]
        names = {name for one in ours for name, value in one.items() if isinstance(value, property)}
        cls.__jit_unused_properties__ = sorted(names)

    def freeze(self) -> None:
        """Make no parameter need a gradient, and go to eval mode."""
        self.requires_grad_(False)
        self.eval()

    def unfreeze(self) -> None:
        """Make all parameters need a gradient, and go to training mode."""
        self.requires_grad_(True)
        self.train()

    def to_torchscript(
        self,
        file_path: str | os.PathLike[str] | None = None,
        method: str | None = "script",
        example_inputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The module in eval mode as TorchScript, kept in `file_path` if that is given.

        `method="trace"` follows `forward` through `example_inputs`, or `example_input_array`.
        """
        if method not in ("script", "trace"):
            raise MisconfigurationException(
                f"to_torchscript(method={method!r}): give 'script' or 'trace'"
            )
        with self.as_exported():
            if method == "script":
                script: Any = torch.jit.script(self, **kwargs)
            else:
                sample = self._example_to_follow(example_inputs, "to_torchscript(method='trace')")
                inputs = tuple(sample) if isinstance(sample, list) else sample
                script = torch.jit.trace(self, inputs, **kwargs)  # type: ignore[no-untyped-call]  # torch
        if file_path is not None:
            torch.jit.save(script, os.fspath(file_path))
        return script

    def to_onnx(self, file_path: Any, input_sample: Any = None, **kwargs: Any) -> Any:
        """Write the module in eval mode as ONNX; other arguments are those of torch.onnx.export.

        It follows `forward` through `input_sample`, or `example_input_array`.
        """
        with self.as_exported():
            sample = self._example_to_follow(input_sample, "to_onnx")
            inputs = sample if isinstance(sample, tuple) else (sample,)
            return torch.onnx.export(self, inputs, file_path, **kwargs)

    def _example_to_follow(self, given: Any, what: str) -> Any:
        sample = self.example_input_array if given is None else given
        if sample is None:
            raise MisconfigurationException(
                f"{what} needs something to follow: give it example inputs, or set "
                "`self.example_input_array`"
            )
        from engine.runtime.data.samplers import with_type

        hooks: Any = self
        device, dtype = hooks.device, hooks.dtype
        sample = hooks.on_before_batch_transfer(sample, 0)
        sample = hooks.transfer_batch_to_device(sample, device, 0)
        sample = hooks.on_after_batch_transfer(sample, 0)
        return sample if dtype == torch.float32 else with_type(sample, dtype)

    @contextmanager
    def as_exported(self) -> Iterator[None]:
        """Within, no gradients, no logging, and eval mode; afterwards all is as it was."""
        modes = [(layer, layer.training) for layer in self.modules()]
        logged = self.__dict__.get("_logged")
        self.__dict__.update(_logged=None)
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.__dict__.update(_logged=logged)
            for layer, mode in modes:
                layer.training = mode
