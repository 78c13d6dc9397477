"""The Trainer's arguments: one table, and the small frozen settings that it is turned into.

A row is an argument: its name, default, meaning and parser. Spellings of 1.x are translated before
the table is read; an argument that is neither is an error with the nearest name.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

from engine.errors import MisconfigurationException
from engine.precision import precision_name
from engine.settings import DataSettings, FitSettings, HardwareSettings, OutputSettings, Settings

S = TypeVar("S")


# ---------------------------------------------------------------------- parsers


def _as_is(value: Any) -> Any:
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, (bool, int)):
        return bool(value)
    raise ValueError("True or False")


def _count(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a number of 0 or more")


def _optional_count(value: Any) -> int | None:
    return None if value is None else _count(value)


def _count_or_all(value: Any) -> int:
    return -1 if value in (-1, None) else _count(value)


def _epochs(value: Any) -> int | None:
    return -1 if value == -1 else _optional_count(value)


def _share_or_count(value: Any) -> int | float:
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a share between 0.0 and 1.0, or a number of batches (an int)")


def _interval(value: Any) -> int | float:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, float) and 0.0 < value <= 1.0:
        return value
    raise ValueError("a share of an epoch (up to 1.0), or a number of training batches (an int)")


def _accumulation(value: Any) -> int | dict[int, int]:
    if isinstance(value, Mapping):
        schedule = {_count(epoch): _count(number) for epoch, number in value.items()}
        if schedule and min(schedule.values()) > 0:
            return {0: 1, **schedule}
    elif _count(value) > 0:
        return _count(value)
    raise ValueError("a number of 1 or more, or {epoch: number}")


def _optional_number(value: Any) -> float | None:
    if value is None or (isinstance(value, (int, float)) and value >= 0):
        return None if value is None else float(value)
    raise ValueError("a number of 0 or more, or None")


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return parse


def _profiler(value: Any) -> Any:
    if value is None or value is False:
        return None
    if value is True:
        return "simple"
    if value in ("simple", "advanced", "pytorch"):
        return value
    if value == "passthrough":
        return None
    methods = ("profile", "start", "stop", "setup", "describe", "teardown")
    has_all = all(callable(getattr(value, name, None)) for name in methods)
    if has_all and not isinstance(value, type):
        return value
    raise ValueError("'simple', 'advanced', 'pytorch' or an object of engine.profilers")


def _runs(value: Any) -> int:
    return int(value) if isinstance(value, bool) else _count(value)


def _path(value: Any) -> str | None:
    return None if value is None else os.path.abspath(os.path.expanduser(os.fspath(value)))


# ---------------------------------------------------------------------- the table


class Option(NamedTuple):
    """One argument of the Trainer."""

    name: str
    default: Any
    meaning: str
    parse: Callable[[Any], Any]

    @property
    def takes_none(self) -> bool:
        """Whether None means something of its own."""
        return self.default is None or self.name == "check_val_every_n_epoch"


OPTIONS = (
    Option("accelerator", None, "cpu, gpu, mps or auto; None: CPU, or a launcher's GPUs", _as_is),
    Option("devices", None, "how many devices a node, or which; None: the launcher's", _as_is),
    Option("num_nodes", 1, "number of nodes", _count),
    Option("strategy", None, "ddp, ddp_find_unused_parameters_true or auto", _as_is),
    Option("precision", 32, "32, 16, bf16 or 64", precision_name),
    Option("logger", True, "True: TensorBoard; False: none; a logger or several", _as_is),
    Option("callbacks", None, "a callback or several", _as_is),
    Option("fast_dev_run", False, "run a few batches (True: one) of everything", _runs),
    Option("max_epochs", None, "stop after so many epochs; None: 1000; -1: never", _epochs),
    Option("min_epochs", None, "stop no earlier", _optional_count),
    Option("max_steps", -1, "stop after so many optimizer steps; -1: never", _count_or_all),
    Option("min_steps", None, "stop no earlier", _optional_count),
    Option("limit_train_batches", 1.0, "share or number of training batches", _share_or_count),
    Option("limit_val_batches", 1.0, "share or number of validation batches", _share_or_count),
    Option("limit_test_batches", 1.0, "share or number of test batches", _share_or_count),
    Option("limit_predict_batches", 1.0, "share or number of batches to predict", _share_or_count),
    Option("overfit_batches", 0.0, "train and validate on so much of the data", _share_or_count),
    Option("val_check_interval", 1.0, "validate each share of an epoch or n batches", _interval),
    Option("check_val_every_n_epoch", 1, "validate every n epochs", _optional_count),
    Option("num_sanity_val_steps", 2, "validation batches before training; -1: all", _count_or_all),
    Option("log_every_n_steps", 50, "how often step values go to loggers", _count),
    Option("enable_checkpointing", True, "keep a checkpoint, if no callback does", _flag),
    Option("enable_progress_bar", True, "show a progress bar", _flag),
    Option("enable_model_summary", True, "show the model's layers", _flag),
    Option("accumulate_grad_batches", 1, "batches a step, or {epoch: batches}", _accumulation),
    Option("gradient_clip_val", None, "clip gradients at this value", _optional_number),
    Option("gradient_clip_algorithm", "norm", "norm or value", _one_of("norm", "value")),
    Option("deterministic", False, "only deterministic algorithms; 'warn' to be told", _as_is),
    Option("benchmark", None, "let cudnn look for the fastest algorithms", _as_is),
    Option("inference_mode", True, "evaluate in inference mode, else without gradients", _flag),
    Option("use_distributed_sampler", True, "give each rank its own samples", _flag),
    Option("prepare_data_per_node", True, "prepare_data on each node, else on one", _flag),
    Option("sync_batchnorm", False, "batch norm over all ranks", _flag),
    Option("profiler", None, "simple, advanced, pytorch or a profiler", _profiler),
    Option("default_root_dir", None, "where everything is written", _path),
    # What old spellings carry beyond the switches that they became:
    Option("refresh_rate", None, "update the bar every n batches", _optional_count),
    Option("summary_depth", 1, "how deep the model summary goes; -1: all", _as_is),
    Option("ckpt_path", None, "resume fit from this checkpoint", _as_is),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_INTERNAL = ("refresh_rate", "summary_depth", "ckpt_path")

# Arguments of Lightning that nothing here answers to yet. The value in the table means the same as
# leaving the argument out; any other is refused, since ignoring it would be a lie.
LATER: dict[str, tuple[Any, ...]] = {
    "amp_backend": (None, "native"),
    "amp_level": (None, "O2"),
    "auto_lr_find": (False,),
    "auto_scale_batch_size": (None, False),
    "auto_select_gpus": (False,),
    "barebones": (False,),
    "detect_anomaly": (False, None),
    "enable_autolog_hparams": (True,),
    "flush_logs_every_n_steps": (None, 100),
    "ipus": (None,),
    "log_gpu_memory": (None,),
    "max_time": (None,),
    "model_registry": (None,),
    "move_metrics_to_cpu": (False,),
    "multiple_trainloader_mode": ("max_size_cycle",),
    "plugins": (None, []),
    "process_position": (0,),
    "reload_dataloaders_every_epoch": (False,),
    "reload_dataloaders_every_n_epochs": (0,),
    "stochastic_weight_avg": (False,),
    "terminate_on_nan": (None, False),
    "tpu_cores": (None, 0),
    "track_grad_norm": (-1,),
    "truncated_bptt_steps": (None, 0),
    "weights_save_path": (None,),
}

_DISTRIBUTED_WORDS = ("dp", "ddp", "ddp2", "ddp_cpu", "ddp_spawn", "horovod")
RENAMED = {
    "replace_sampler_ddp": "use_distributed_sampler",
    "resume_from_checkpoint": "ckpt_path",
}


def translate(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments in the words of the table; what was left at None in 1.x stays out."""
    arguments = dict(given)
    for old, new in RENAMED.items():
        if old in arguments:
            _put(arguments, old, new, arguments.pop(old))
    _translate_devices(arguments)
    _translate_output(arguments)
    return arguments


def _put(arguments: dict[str, Any], old: str, new: str, value: Any) -> None:
    if arguments.get(new) is not None and arguments[new] != value:
        raise MisconfigurationException(
            f"Trainer({old}=..., {new}=...): both mean the same, give one of them"
        )
    arguments[new] = value


def _translate_devices(arguments: dict[str, Any]) -> None:
    backend = arguments.pop("distributed_backend", None)
    word = backend if backend is not None else arguments.get("accelerator")
    if word in _DISTRIBUTED_WORDS:  # 1.x named the strategy there
        arguments.pop("accelerator", None)
        if word == "ddp_cpu":
            arguments["accelerator"], word = "cpu", "ddp"
        _put(arguments, "accelerator", "strategy", word)
    gpus = arguments.pop("gpus", None)
    processes = arguments.pop("num_processes", None)
    if gpus not in (None, 0, "0", "", []):
        _put(arguments, "gpus", "accelerator", "gpu")
        _put(arguments, "gpus", "devices", gpus)
    elif processes not in (None, 1):
        _put(arguments, "num_processes", "accelerator", "cpu")
        _put(arguments, "num_processes", "devices", processes)
    elif gpus is not None:  # 0 was said: the CPU, whatever there is
        arguments.setdefault("accelerator", "cpu")


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
        depth = {"top": 1, "full": -1, None: 0}.get(arguments.pop("weights_summary"))
        if depth is None:
            raise MisconfigurationException("weights_summary is 'top', 'full' or None")
        arguments["enable_model_summary"] = depth != 0
        arguments["summary_depth"] = depth or 1


def as_list(value: Any) -> list[Any]:
    """None, one or several as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def parse(given: Mapping[str, Any]) -> Settings:
    """The settings that a trainer's arguments mean; raises where one is unknown or wrong."""
    arguments = translate(given)
    for name in list(arguments):
        if name in LATER:
            value = arguments.pop(name)
            if not any(value is v or value == v for v in LATER[name]):
                raise MisconfigurationException(
                    f"Trainer({name}={value!r}): this argument is not supported yet; leave it out"
                )
        elif name not in _BY_NAME or (name in _INTERNAL and name in given):
            raise TypeError(_unknown(name))
    values = {
        option.name: _parsed(option, arguments.get(option.name, option.default))
        for option in OPTIONS
    }
    if values["fast_dev_run"]:
        _shorten(values)
    if values["max_epochs"] is None and values["max_steps"] == -1:
        values["max_epochs"] = 1000
    return Settings(
        _take(FitSettings, values),
        _take(DataSettings, values),
        _take(HardwareSettings, values),
        _take(OutputSettings, values),
    )


def _parsed(option: Option, value: Any) -> Any:
    if value is None and not option.takes_none:
        value = option.default  # None was the default of many arguments at one time or another
    try:
        return option.parse(value)
    except (ValueError, TypeError) as error:
        raise MisconfigurationException(
            f"Trainer({option.name}={value!r}): give {error} ({option.meaning})"
        ) from None


def _take(settings: type[S], values: Mapping[str, Any]) -> S:
    names = [field.name for field in fields(settings)]  # type: ignore[arg-type]  # a dataclass
    return settings(**{name: values[name] for name in names})


def _shorten(values: dict[str, Any]) -> None:
    """What fast_dev_run means: a few batches of everything, and nothing is left behind."""
    batches = values["fast_dev_run"]
    for name in ("train", "val", "test", "predict"):
        values[f"limit_{name}_batches"] = batches
    values.update(max_epochs=1, max_steps=batches, num_sanity_val_steps=0, val_check_interval=1.0)
    values.update(check_val_every_n_epoch=1, logger=False, enable_checkpointing=False)


def _unknown(name: str) -> str:
    known = [n for n in (*_BY_NAME, *LATER, *RENAMED, *OLD_NAMES) if n not in _INTERNAL]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"Trainer has no argument {name!r}{hint}"


OLD_NAMES = (
    "gpus",
    "num_processes",
    "distributed_backend",
    "checkpoint_callback",
    "progress_bar_refresh_rate",
    "weights_summary",
)


def signature() -> inspect.Signature:
    """The signature of the Trainer, from the table."""
    kind = inspect.Parameter
    known = [kind("self", kind.POSITIONAL_OR_KEYWORD)]
    shown = [option for option in OPTIONS if option.name not in _INTERNAL]
    known += [kind(option.name, kind.KEYWORD_ONLY, default=option.default) for option in shown]
    return inspect.Signature([*known, kind("arguments", kind.VAR_KEYWORD)])


def description() -> str:
    """What each argument of the Trainer means, from the table."""
    shown = [option for option in OPTIONS if option.name not in _INTERNAL]
    lines = [f"{option.name}: {option.meaning} (default {option.default})" for option in shown]
    return "\n".join([*lines, f"not supported yet: {', '.join(LATER)}"])
