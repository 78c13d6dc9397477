"""Tensors that do not go to the device with their module, and where they were made."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import torch

from engine.runtime.distributed.world import rank_zero_warn

_FOREIGN = {"torch", "builtins", "engine"}
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)
# Not the user's: of every module, and of ours.
_PRIVATE = {*vars(torch.nn.Module()), "_hparams", "_hparams_initial", "_logged", "_manual"}
_PRIVATE |= {"_trainer", "example_input_array"}  # the example is moved where it is used


def warn_of_off_device_tensors(module: torch.nn.Module, device: torch.device) -> None:
    """Name the tensors that will fail in the first step, with the lines that made them."""
    found = list(off_device_tensors(module, device))
    if not found:
        return
    lines = "".join(f"\n  self.{path}, {where}" for path, where in found)
    rank_zero_warn(
        f"these tensors stay on the CPU while {type(module).__name__} is on {device}:{lines}\n"
        "Keep a tensor by self.register_buffer(name, tensor) instead, or layers in a "
        "torch.nn.ModuleList: they go where the module goes"
    )


def off_device_tensors(module: torch.nn.Module, device: torch.device) -> Iterator[tuple[str, str]]:
    """(attribute path, place in the source) of tensors on the CPU that are no buffers."""
    own = {_package(cls) for cls in type(module).__mro__} - _FOREIGN
    for path, layer in module.named_modules():
        is_own = _package(type(layer)) in own  # of others what is private is their business
        for name, value in {**_of_classes(layer), **vars(layer)}.items():
            if name in _PRIVATE or (name.startswith("_") and not is_own):
                continue
            for inner in _off_device_in(value, device):
                full = f"{path}.{name}{inner}" if path else f"{name}{inner}"
                yield full, place_of(layer, name)


def _of_classes(layer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors that are attributes of the layer's class, or of its bases."""
    found: dict[str, torch.Tensor] = {}
    for cls in reversed(type(layer).__mro__):
        if _package(cls) not in _FOREIGN:
            found.update((n, v) for n, v in vars(cls).items() if isinstance(v, torch.Tensor))
    return found


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _off_device_in(value: Any, device: torch.device) -> Iterator[str]:
    """What follows the attribute's name for each such tensor in it: nothing, or [0], .weight."""
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
            yield from (f"[{index}]{inner}" for inner in _off_device_in(item, device))
    elif isinstance(value, dict):
        for key, item in list(value.items())[:100]:
            yield from (f"[{key!r}]{inner}" for inner in _off_device_in(item, device))


def place_of(owner: object, name: str) -> str:
    """`file:line` of the assignment `self.name = ...` in the class of `owner` or its bases."""
    for cls in type(owner).__mro__:
        if _package(cls) in _FOREIGN:
            continue
        try:
            lines, first = inspect.getsourcelines(cls)
            file = inspect.getsourcefile(cls) or ""
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):  # typed in, or made in some other way
            continue
        line = _line_of(name, tree)
        if line is not None:
            return f"{os.path.relpath(file)}:{first + line - 1}"
    return f"an attribute of {type(owner).__name__}"


def _line_of(name: str, tree: ast.Module) -> int | None:
    """The line of a class that sets `self.name`, or `name` as an attribute of the class."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr == name
            and isinstance(node.ctx, ast.Store)
        ):
            return node.lineno
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    names = (node for line in body for node in ast.walk(line) if isinstance(line, _ASSIGNMENTS))
    return next((n.lineno for n in names if isinstance(n, ast.Name) and n.id == name), None)
