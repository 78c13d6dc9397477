"""Tensors that do not go to the device with their module, and where they were made."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import torch

from engine.distributed import rank_zero_warn


def warn_of_stray_tensors(module: torch.nn.Module, device: torch.device) -> None:
    """Name the tensors that will fail in the first step, with the lines that made them."""
    found = list(stray_tensors(module, device))
    if not found:
        return
    lines = "".join(f"\n  self.{path}, {where}" for path, where in found)
    rank_zero_warn(
        f"these tensors stay on the CPU while {type(module).__name__} is on {device}:{lines}\n"
        "Keep a tensor by self.register_buffer(name, tensor) instead, or layers in a "
        "torch.nn.ModuleList: they go where the module goes"
    )


def stray_tensors(module: torch.nn.Module, device: torch.device) -> Iterator[tuple[str, str]]:
    """(attribute path, place in the source) of tensors on the CPU that are no buffers."""
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if name.startswith("_"):
                continue
            for inner in _strays_in(value, device):
                full = f"{path}.{name}{inner}" if path else f"{name}{inner}"
                yield full, place_of(layer, name)


def _strays_in(value: Any, device: torch.device) -> Iterator[str]:
    """What follows the attribute's name for each stray in its value: nothing, or [0], .weight."""
    if isinstance(value, torch.Tensor):
        # Single numbers mix with tensors of any device.
        if value.device.type == "cpu" and device.type != "cpu" and value.dim():
            yield ""
    elif isinstance(value, torch.nn.Module):  # only reached inside a container
        for name, parameter in value.named_parameters():
            if parameter.device.type == "cpu" and device.type != "cpu":
                yield f".{name}"
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value[:100]):
            yield from (f"[{index}]{inner}" for inner in _strays_in(item, device))
    elif type(value) is dict:
        for key, item in list(value.items())[:100]:
            yield from (f"[{key!r}]{inner}" for inner in _strays_in(item, device))


def place_of(owner: object, name: str) -> str:
    """`file:line` of the assignment `self.name = ...` in the class of `owner` or its bases."""
    for cls in type(owner).__mro__:
        if cls.__module__.split(".")[0] in ("torch", "builtins", "engine"):
            continue
        try:
            lines, first = inspect.getsourcelines(cls)
            file = inspect.getsourcefile(cls) or ""
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):  # typed in, or made in some other way
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr != name:
                continue
            if isinstance(node.ctx, ast.Store):
                return f"{os.path.relpath(file)}:{first + node.lineno - 1}"
    return f"an attribute of {type(owner).__name__}"
