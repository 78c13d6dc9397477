"""The table: every argument of the Trainer, one row each.

The signature, the command line, the docs and the error messages are made of these rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import duration
from engine.strategies.precision import precision_name
from engine.trainer.options import parsers as read


class Option(NamedTuple):
    """One argument of the Trainer; `since` is the Lightning that had it first."""

    name: str
    default: Any
    meaning: str
    parse: read.Parser
    since: str

    @property
    def takes_none(self) -> bool:
        """Whether None means something of its own."""
        return self.default is None or self.name in ("check_val_every_n_epoch", "weights_summary")

    def read(self, value: Any) -> Any:
        """The value as the settings have it; raises with what to give where it is wrong."""
        if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
            value = value.item()  # a number of numpy's or torch's is a number
        if value is None and not self.takes_none:
            value = self.default  # None was the default of many arguments at one time or another
        try:
            return self.parse(value)
        except (ValueError, TypeError) as error:
            raise MisconfigurationException(
                f"Trainer({self.name}={value!r}): give {error} ({self.meaning})"
            ) from None


_LOADERS = ("max_size_cycle", "min_size", "max_size", "sequential")
_SHARE, _FLAG, _ALL = read.share_or_count, read.flag, read.count_or_all

OPTIONS = (
    Option(
        "accelerator",
        None,
        "cpu, gpu, mps or auto; None: CPU, or a launcher's GPUs",
        read.accelerator,
        "1.0",
    ),
    Option(
        "devices",
        None,
        "how many devices a node, or which; None: the launcher's",
        read.some_devices,
        "1.4",
    ),
    Option("num_nodes", 1, "number of nodes", read.at_least_one, "1.0"),
    Option("strategy", None, "ddp, fsdp, auto or a strategy object", read.strategy, "1.5"),
    Option("precision", 32, "32, 16, bf16 or 64", precision_name, "1.0"),
    Option("plugins", None, "DDPPlugin, SLURMEnvironment and their like", read.several, "1.1"),
    Option("amp_backend", "native", "what computes in 16 bits: native", read.native, "1.0"),
    Option("amp_level", None, "of Apex; O1 and O2 are what native does", read.level, "1.0"),
    Option("auto_select_gpus", False, "take GPUs that are idle", _FLAG, "1.0"),
    Option(
        "logger", True, "True: TensorBoard; False: none; a logger or several", read.logger, "1.0"
    ),
    Option("callbacks", None, "a callback or several", read.several, "1.0"),
    Option("fast_dev_run", False, "run a few batches (True: one) of everything", read.runs, "1.0"),
    Option(
        "max_epochs", None, "stop after so many epochs; None: 1000; -1: never", read.epochs, "1.0"
    ),
    Option("min_epochs", None, "stop no earlier", read.optional_count, "1.0"),
    Option("max_steps", -1, "stop after so many optimizer steps; -1: never", _ALL, "1.0"),
    Option("min_steps", None, "stop no earlier", read.optional_count, "1.0"),
    Option(
        "max_time",
        None,
        "stop after so long: 'DD:HH:MM:SS', a dict or a timedelta",
        duration,
        "1.3",
    ),
    Option("limit_train_batches", 1.0, "share or number of training batches", _SHARE, "1.0"),
    Option("limit_val_batches", 1.0, "share or number of validation batches", _SHARE, "1.0"),
    Option("limit_test_batches", 1.0, "share or number of test batches", _SHARE, "1.0"),
    Option("limit_predict_batches", 1.0, "share or number of batches to predict", _SHARE, "1.2"),
    Option("overfit_batches", 0.0, "train and validate on so much of the data", _SHARE, "1.0"),
    Option(
        "val_check_interval",
        1.0,
        "validate each share of an epoch, n batches, '500opt' steps, or time",
        read.interval,
        "1.0",
    ),
    Option("check_val_every_n_epoch", 1, "validate every n epochs", read.optional_count, "1.0"),
    Option("num_sanity_val_steps", 2, "validation batches before training; -1: all", _ALL, "1.0"),
    Option("log_every_n_steps", 50, "how often step values go to loggers", read.count, "1.0"),
    Option(
        "flush_logs_every_n_steps",
        None,
        "steps until loggers write to disk; None: their own",
        read.optional_count,
        "1.0",
    ),
    Option("enable_checkpointing", True, "keep a checkpoint, if no callback does", _FLAG, "1.5"),
    Option("enable_progress_bar", True, "show a progress bar", _FLAG, "1.5"),
    Option("enable_model_summary", True, "show the model's layers", _FLAG, "1.5"),
    Option("process_position", 0, "the progress bar's line, below others", read.count, "1.0"),
    Option(
        "accumulate_grad_batches",
        1,
        "batches a step, or {epoch: batches}",
        read.accumulation,
        "1.0",
    ),
    Option("gradient_clip_val", None, "clip gradients at this value", read.optional_number, "1.0"),
    Option("gradient_clip_algorithm", "norm", "norm or value", read.one_of("norm", "value"), "1.3"),
    Option(
        "track_grad_norm", -1, "log the gradients' p-norm: p or 'inf'; -1: don't", read.norm, "1.0"
    ),
    Option(
        "truncated_bptt_steps", 0, "cut sequences to so many steps; 0: don't", read.count, "1.0"
    ),
    Option("stochastic_weight_avg", False, "average the weights of the last epochs", _FLAG, "1.2"),
    Option(
        "deterministic",
        False,
        "only deterministic algorithms; 'warn' to be told",
        read.one_of(False, True, "warn"),
        "1.0",
    ),
    Option(
        "benchmark", None, "let cudnn look for the fastest algorithms", read.optional_flag, "1.0"
    ),
    Option(
        "detect_anomaly",
        False,
        "let autograd name the forward call of a NaN gradient",
        _FLAG,
        "1.5",
    ),
    Option(
        "terminate_on_nan", False, "stop at a loss, or weights, that are not finite", _FLAG, "1.0"
    ),
    Option(
        "inference_mode", True, "evaluate in inference mode, else without gradients", _FLAG, "1.8"
    ),
    Option(
        "multiple_trainloader_mode",
        "max_size_cycle",
        "whose length counts of several loaders",
        read.one_of(*_LOADERS),
        "1.2",
    ),
    Option(
        "reload_dataloaders_every_n_epochs",
        0,
        "ask for new loaders every n epochs; 0: never",
        read.count,
        "1.4",
    ),
    Option("use_distributed_sampler", True, "give each rank its own samples", _FLAG, "2.0"),
    Option("prepare_data_per_node", True, "prepare_data on each node, else on one", _FLAG, "1.0"),
    Option("sync_batchnorm", False, "batch norm over all ranks", _FLAG, "1.0"),
    Option(
        "auto_lr_find",
        False,
        "tune() looks for a learning rate; or the name to set",
        read.as_is,
        "1.0",
    ),
    Option(
        "auto_scale_batch_size",
        None,
        "tune() looks for a batch size: power or binsearch",
        read.scaling,
        "1.0",
    ),
    Option("profiler", None, "simple, advanced, pytorch or a profiler", read.profiler, "1.0"),
    Option(
        "log_gpu_memory",
        None,
        "log the GPUs' memory: all or min_max",
        read.one_of(None, "all", "min_max"),
        "1.0",
    ),
    Option("move_metrics_to_cpu", False, "keep logged values off the GPU", _FLAG, "1.1"),
    Option("default_root_dir", None, "where everything is written", read.path, "1.0"),
    Option(
        "weights_save_path", None, "where checkpoints are written, if elsewhere", read.path, "1.0"
    ),
    Option("barebones", False, "no logs, bar, checkpoints: only what training needs", _FLAG, "2.0"),
    Option("enable_autolog_hparams", True, "give hyper-parameters to loggers", _FLAG, "2.5"),
    # What old spellings carry beyond the switches that they became:
    Option("refresh_rate", None, "update the bar every n batches", read.optional_count, ""),
    Option("summary_depth", 1, "how deep the model summary goes; -1: all", read.as_is, ""),
    Option("ckpt_path", None, "resume fit from this checkpoint", read.as_is, ""),
)
INTERNAL = ("refresh_rate", "summary_depth", "ckpt_path")
SHOWN = tuple(option for option in OPTIONS if option.name not in INTERNAL)
BY_NAME = {option.name: option for option in OPTIONS}
