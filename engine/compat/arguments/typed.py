"""The arguments of any version, for editors and type checkers; a test holds them to the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.trainer.options.arguments import TrainerArguments


class OldArguments(TrainerArguments, total=False):
    """Those of 1.x beside today's; what they are now says `engine.compat.arguments.table`."""

    gpus: int | str | Sequence[int] | None
    num_processes: int | None
    distributed_backend: Any
    checkpoint_callback: Any  # a bool, or the callback
    progress_bar_refresh_rate: int | None
    weights_summary: str | None
    resume_from_checkpoint: Any
    replace_sampler_ddp: bool
    reload_dataloaders_every_epoch: bool
    tpu_cores: Any
    ipus: Any
    hpus: Any
    model_registry: Any
    automatic_optimization: bool | None
    early_stop_callback: Any
    enable_pl_optimizer: bool | None
