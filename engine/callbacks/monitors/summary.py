"""What a model is made of: its modules, their parameters, and the sizes that pass through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from engine.callbacks.base import Callback
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer

UNKNOWN = "?"
DEPTHS = {"top": 1, "full": -1}


@dataclass(frozen=True)
class Row:
    """One module of the table."""

    name: str
    kind: str
    num_params: int
    in_size: str = ""
    out_size: str = ""


@dataclass(frozen=True)
class Summary:
    """The table and its sums; `str()` of it is what is printed."""

    rows: list[Row]
    num_trainable: int
    num_frozen: int
    num_bytes: int

    @property
    def num_params(self) -> int:
        """All parameters, each counted once."""
        return self.num_trainable + self.num_frozen

    def __str__(self) -> str:
        has_sizes = any(row.in_size or row.out_size for row in self.rows)
        table = [["", "Name", "Type", "Params", "In sizes", "Out sizes"]]
        for number, row in enumerate(self.rows):
            count = short_count(row.num_params)
            table.append([str(number), row.name, row.kind, count, row.in_size, row.out_size])
        if not has_sizes:
            table = [cells[:4] for cells in table]
        lines = _aligned(table)
        rule = "-" * max(len(line) for line in lines)
        sums = [
            f"{short_count(self.num_trainable)} trainable, {short_count(self.num_frozen)} frozen, "
            f"{short_count(self.num_params)} parameters in all, {self.num_bytes / 1e6:.3f} MB"
        ]
        return "\n".join([lines[0], rule, *lines[1:], rule, *sums])


class ModelSummary(Callback):
    """Prints the model's table when a fit begins.

    `max_depth`: how deep in the tree of modules; 1 or 'top' shows the model's own attributes, -1
    or 'full' all modules, 0 only the sums. With `example_input_array` on the module the table has
    the sizes of inputs and outputs.
    """

    def __init__(self, max_depth: int | str = 1) -> None:
        if isinstance(max_depth, str) and max_depth not in DEPTHS:
            raise ValueError(f"max_depth is a number, 'top' or 'full', not {max_depth!r}")
        self.max_depth = DEPTHS[max_depth] if isinstance(max_depth, str) else max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table, once; ranks that share a model run the example through it together."""
        if trainer.is_global_zero or not trainer.strategy.holds_all:
            rank_zero_info(str(summarize(pl_module, self.max_depth)))


RichModelSummary = ModelSummary


def summarize(model: nn.Module, max_depth: int = 1) -> Summary:
    """Count a model's parameters and, where it has an example input, follow the sizes."""
    shown = [
        (name, module)
        for name, module in model.named_modules()
        if name and (max_depth < 0 or name.count(".") < max_depth)
    ]
    sizes = _sizes(model, dict(shown))
    rows = [
        Row(name, type(module).__name__, _count(module), *sizes.get(name, ("", "")))
        for name, module in shown
    ]
    params = [param for param in model.parameters() if _is_known(param)]
    trainable = sum(param.numel() for param in params if param.requires_grad)
    frozen = sum(param.numel() for param in params if not param.requires_grad)
    num_bytes = sum(param.numel() * param.element_size() for param in params)
    return Summary(rows, trainable, frozen, num_bytes)


def short_count(number: int) -> str:
    """`1234567` as `1.2 M`."""
    value = float(number)
    for unit in ("", " K", " M", " B"):
        if value < 1000 or unit == " B":
            return f"{value:.0f}" if not unit else f"{value:.1f}{unit}"
        value /= 1000
    raise AssertionError


def _count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters() if _is_known(param))


def _is_known(param: nn.Parameter) -> bool:
    return not isinstance(param, nn.UninitializedParameter)


def _sizes(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, tuple[str, str]]:
    """Run the example input through the model and note what each module takes and gives."""
    example = getattr(model, "example_input_array", None)
    if example is None:
        return {}
    sizes: dict[str, tuple[str, str]] = {name: (UNKNOWN, UNKNOWN) for name in modules}

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            given = inputs[0] if len(inputs) == 1 else list(inputs)
            sizes.setdefault(name, (UNKNOWN, UNKNOWN))
            if sizes[name] == (UNKNOWN, UNKNOWN):
                sizes[name] = (_size(given), _size(output))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        with _without_a_trace(model), torch.no_grad():
            example = _as_of(next(iter(model.parameters()), torch.empty(0)), example)
            if isinstance(example, Mapping):
                model(**example)
            elif isinstance(example, tuple):
                model(*example)
            else:
                model(example)
    except Exception as error:
        raise MisconfigurationException(
            "the summary's sizes come from `example_input_array`, which the model does not take: "
            f"{type(error).__name__}: {error}. Make it an input of `forward` (a tuple for several, "
            "a dict for named ones), or leave the summary out: enable_model_summary=False"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


@contextmanager
def _without_a_trace(model: nn.Module) -> Iterator[None]:
    """The model as it was afterwards: modes, running statistics and random state."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {param.device for param in model.parameters() if param.is_cuda}
    model.eval()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _as_of(parameter: torch.Tensor, value: object) -> Any:
    """The example where the model is, and in its precision, if that is another than usual."""
    if isinstance(value, torch.Tensor):
        is_other = value.is_floating_point() and parameter.dtype != torch.float32
        return value.to(parameter.device, parameter.dtype if is_other else value.dtype)
    if isinstance(value, Mapping):
        return {key: _as_of(parameter, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_of(parameter, item) for item in value)
    return value


def _size(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return str(list(value.shape))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_size(item) for item in value) + "]"
    return UNKNOWN


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
