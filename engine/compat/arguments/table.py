"""The Trainer's arguments that only 1.x had: what they are now, and which of them never come."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.trainer.options import parsers as read
from engine.trainer.options.table import Option

# Spellings of 1.x: what they are now.
OLD = (
    Option("gpus", None, "accelerator='gpu' and devices", read.gpus, "1.0"),
    Option("num_processes", 1, "accelerator='cpu' and devices", read.optional_count, "1.0"),
    Option("distributed_backend", None, "strategy", read.as_is, "1.0"),
    Option("checkpoint_callback", None, "enable_checkpointing", read.keeps, "1.0"),
    Option(
        "progress_bar_refresh_rate",
        None,
        "ProgressBar(refresh_rate=...); 0 is enable_progress_bar=False",
        read.optional_count,
        "1.0",
    ),
    Option(
        "weights_summary",
        "top",
        "ModelSummary(max_depth=...); None is enable_model_summary=False",
        read.one_of("top", "full", None),
        "1.0",
    ),
    Option("resume_from_checkpoint", None, "fit(ckpt_path=...)", read.words, "1.0"),
    Option("replace_sampler_ddp", True, "use_distributed_sampler", read.flag, "1.0"),
    Option(
        "reload_dataloaders_every_epoch",
        False,
        "reload_dataloaders_every_n_epochs=1",
        read.flag,
        "1.0",
    ),
)


class Refusal(NamedTuple):
    """An argument that never comes: what is the same as leaving it out, and what to use instead."""

    name: str
    neutral: tuple[Any, ...]
    instead: str
    since: str


_GPUS_INSTEAD = "use accelerator='gpu', with devices=N, or accelerator='cpu'"
NEVER = (
    Refusal("tpu_cores", (None, 0), f"TPUs are not supported; {_GPUS_INSTEAD}", "1.0"),
    Refusal("ipus", (None, 0), f"IPUs are not supported; {_GPUS_INSTEAD}", "1.4"),
    Refusal("hpus", (None, 0), f"HPUs are not supported; {_GPUS_INSTEAD}", "1.6"),
    Refusal(
        "model_registry",
        (None,),
        "there is no registry here; hand `trainer.checkpoint_callback.best_model_path` to yours",
        "2.5",
    ),
    Refusal(
        "automatic_optimization",
        (None, True),
        "set `self.automatic_optimization = False` in the module's __init__",
        "1.0",
    ),
    Refusal(
        "early_stop_callback",
        (None, False),
        "give callbacks=[EarlyStopping('val_loss')]",
        "0.4",
    ),
    Refusal(
        "enable_pl_optimizer",
        (None, True, False),
        "leave it out: `self.optimizers()` gives wrapped optimizers, `use_pl_optimizer=False` bare",
        "1.1",
    ),
)
