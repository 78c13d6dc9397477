"""The settings of a trainer: what its arguments mean, in small frozen parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True)
class OptimizerSteps:
    """An interval that is counted in optimizer steps, not in batches."""

    number: int


@dataclass(frozen=True)
class FitSettings:
    """How long to train, and how a step is taken."""

    max_epochs: int | None
    min_epochs: int | None
    max_steps: int
    min_steps: int | None
    accumulate_grad_batches: int | dict[int, int]
    gradient_clip_val: float | None
    gradient_clip_algorithm: str
    val_check_interval: int | float | OptimizerSteps | timedelta
    check_val_every_n_epoch: int | None
    num_sanity_val_steps: int
    log_every_n_steps: int
    truncated_bptt_steps: int
    max_time: timedelta | None
    detect_anomaly: bool
    terminate_on_nan: bool
    track_grad_norm: float | str  # the p of a p-norm, "inf", or -1 for none
    stochastic_weight_avg: bool


@dataclass(frozen=True)
class DataSettings:
    """Which batches are used."""

    limit_train_batches: int | float
    limit_val_batches: int | float
    limit_test_batches: int | float
    limit_predict_batches: int | float
    overfit_batches: int | float
    use_distributed_sampler: bool
    prepare_data_per_node: bool
    inference_mode: bool
    multiple_trainloader_mode: str
    reload_dataloaders_every_n_epochs: int


@dataclass(frozen=True)
class HardwareSettings:
    """What to compute on."""

    accelerator: str | None
    devices: Any
    num_nodes: int
    strategy: Any
    precision: str
    sync_batchnorm: bool
    deterministic: Any
    benchmark: bool | None
    plugins: Any
    amp_backend: str
    amp_level: str | None
    auto_select_gpus: bool


@dataclass(frozen=True)
class OutputSettings:
    """What is written and shown."""

    logger: Any
    callbacks: Any
    default_root_dir: str | None
    enable_checkpointing: bool
    enable_progress_bar: bool
    enable_model_summary: bool
    refresh_rate: int | None
    summary_depth: int
    fast_dev_run: int
    ckpt_path: Any
    profiler: Any
    flush_logs_every_n_steps: int | None
    process_position: int
    weights_save_path: str | None
    log_gpu_memory: str | None
    move_metrics_to_cpu: bool
    barebones: bool
    enable_autolog_hparams: bool


@dataclass(frozen=True)
class TuneSettings:
    """What is looked for before training."""

    auto_lr_find: bool | str
    auto_scale_batch_size: str | None


@dataclass(frozen=True)
class Settings:
    """All settings of a trainer."""

    fit: FitSettings
    data: DataSettings
    hardware: HardwareSettings
    output: OutputSettings
    tune: TuneSettings


def duration(value: object) -> timedelta | None:
    """A time as "DD:HH:MM:SS", a dict of timedelta's words, or a timedelta."""
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+):(\d\d?):(\d\d?):(\d\d?)", value.strip())
        if match is not None:
            days, hours, minutes, seconds = map(int, match.groups())
            value = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif isinstance(value, Mapping):
        with suppress(TypeError):  # of words that timedelta does not know
            value = timedelta(**value)
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value
    raise ValueError("'DD:HH:MM:SS', a dict such as {'hours': 2}, or a timedelta")
