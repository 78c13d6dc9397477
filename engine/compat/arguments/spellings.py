"""Spellings of 1.x, in the words of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.compat.arguments.refusals import refuse
from engine.compat.arguments.table import OLD
from engine.compat.legacy.accelerators import Accelerator
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import Settings
from engine.trainer import options
from engine.trainer.options import as_list

RENAMED = {
    "replace_sampler_ddp": "use_distributed_sampler",
    "resume_from_checkpoint": "ckpt_path",
}
_STRATEGIES = ("bagua", "ddp", "deepspeed", "dp", "fsdp", "horovod")  # and what begins like them


def named(positional: tuple[Any, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments by name: 1.x took them by position too, of which the logger was the first."""
    if len(positional) > 1 or (positional and "logger" in arguments):
        raise TypeError(
            f"Trainer takes its arguments by name, and {len(positional)} came without one; only "
            "the logger, as the first, needs none"
        )
    return {**arguments, **({"logger": positional[0]} if positional else {})}


def parse(given: Mapping[str, Any]) -> Settings:
    """The settings that arguments of any version mean; raises where one is unknown or wrong."""
    return options.parse(translated(given))


def translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the words of the table; raises where one is unknown or never comes."""
    return refuse(translate(given), given)


def translate(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments in the words of the table; what was left at None in 1.x stays out."""
    arguments = dict(given)
    for option in OLD:
        if option.name in arguments:
            arguments[option.name] = option.read(arguments[option.name])
    for old, new in RENAMED.items():
        if old in arguments:
            _put(arguments, old, new, arguments.pop(old))
    if arguments.pop("reload_dataloaders_every_epoch", False):
        _put(arguments, "reload_dataloaders_every_epoch", "reload_dataloaders_every_n_epochs", 1)
    _translate_devices(arguments)
    _translate_output(arguments)
    return arguments


def _put(arguments: dict[str, Any], old: str, new: str, value: Any) -> None:
    if arguments.get(new) is not None and arguments[new] != value:
        raise MisconfigurationException(
            f"Trainer({old}=..., {new}=...): both mean the same, give one of them"
        )
    arguments[new] = value


def _take_from_strategies(arguments: dict[str, Any]) -> None:
    """What strategy objects were given for the Trainer: DDPStrategy(accelerator=...)."""
    for given in (arguments.get("strategy"), *as_list(arguments.get("plugins"))):
        for name, value in getattr(given, "asked", {}).items():
            if arguments.get(name) == "auto":
                del arguments[name]
            _put(arguments, f"strategy={type(given).__name__}(...), {name}", name, value)


def _translate_devices(arguments: dict[str, Any]) -> None:
    _take_from_strategies(arguments)
    device = arguments.get("accelerator")
    if isinstance(device, Accelerator):  # 1.2 to 1.5: device and strategy in one object
        arguments["accelerator"] = device.kind
        if device.training_type_plugin is not None:
            _put(arguments, "accelerator", "strategy", device.training_type_plugin)
    word = arguments.get("accelerator")
    if isinstance(word, str) and word.lower().startswith(_STRATEGIES):  # 1.x named it there
        _take_strategy(arguments, "accelerator")
    _take_strategy(arguments, "distributed_backend")
    gpus = arguments.pop("gpus", None)
    processes = arguments.pop("num_processes", None)
    is_none, named = gpus in (0, []), arguments.get("accelerator")
    named = named.lower() if isinstance(named, str) else named
    is_open = named in (None, "auto")
    if gpus is not None and not is_open and (named in ("gpu", "cuda")) is is_none:
        raise MisconfigurationException(
            f"Trainer(gpus={gpus!r}, accelerator={named!r}): these are two kinds of device; "
            "leave out one of them"
        )
    if is_none and is_open:  # it was said: the CPU, whatever there is
        arguments["accelerator"] = "cpu"
    if gpus is not None and not is_none:
        arguments["accelerator"] = "gpu"
        _put(arguments, "gpus", "devices", gpus)
    elif processes not in (None, 1):
        arguments["accelerator"] = arguments.get("accelerator") or "cpu"
        _put(arguments, "num_processes", "devices", processes)


def _take_strategy(arguments: dict[str, Any], old: str) -> None:
    """Give the value of an old argument to `strategy`; "ddp_cpu" also says where."""
    word = arguments.pop(old, None)
    word = word.lower() if isinstance(word, str) else word
    if word == "ddp_cpu":
        arguments["accelerator"], word = arguments.get("accelerator") or "cpu", "ddp"
    if word is not None:
        _put(arguments, old, "strategy", word)


def _translate_output(arguments: dict[str, Any]) -> None:
    keeps = arguments.pop("checkpoint_callback", None)
    if isinstance(keeps, bool):
        _put(arguments, "checkpoint_callback", "enable_checkpointing", keeps)
    elif keeps is not None:  # 1.0 took the callback itself
        arguments["callbacks"] = [*as_list(arguments.get("callbacks")), keeps]
    if "progress_bar_refresh_rate" in arguments:
        rate = arguments.pop("progress_bar_refresh_rate")
        if rate == 0:
            arguments["enable_progress_bar"] = False
        elif rate is not None:
            arguments["refresh_rate"] = rate
    if "weights_summary" in arguments:
        depth = {"top": 1, "full": -1, None: 0}[arguments.pop("weights_summary")]
        if not depth:
            arguments["enable_model_summary"] = False
        arguments["summary_depth"] = depth or 1
