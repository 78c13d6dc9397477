"""The Trainer's arguments for editors and type checkers; a test holds them against the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, TypedDict


class TrainerArguments(TypedDict, total=False):
    """What each means, and its default, says `engine.trainer.options.table`."""

    accelerator: Any  # a name, or an accelerator of 1.x
    devices: int | str | Sequence[int] | None
    num_nodes: int
    strategy: Any  # a name, or a strategy
    precision: int | str | None
    plugins: Any  # one or several
    amp_backend: str
    amp_level: str | None
    auto_select_gpus: bool
    logger: Any  # a bool, a logger or several
    callbacks: Any  # one or several
    fast_dev_run: bool | int
    max_epochs: int | None
    min_epochs: int | None
    max_steps: int | None
    min_steps: int | None
    max_time: str | timedelta | dict[str, int] | None
    limit_train_batches: int | float | None
    limit_val_batches: int | float | None
    limit_test_batches: int | float | None
    limit_predict_batches: int | float | None
    overfit_batches: int | float
    val_check_interval: int | float | str | timedelta | dict[str, int] | None
    check_val_every_n_epoch: int | None
    num_sanity_val_steps: int | None
    log_every_n_steps: int | None
    flush_logs_every_n_steps: int | None
    enable_checkpointing: bool | None
    enable_progress_bar: bool | None
    enable_model_summary: bool | None
    process_position: int
    accumulate_grad_batches: int | dict[int, int] | None
    gradient_clip_val: int | float | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    track_grad_norm: int | float | str
    truncated_bptt_steps: int | None
    stochastic_weight_avg: bool
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    detect_anomaly: bool
    terminate_on_nan: bool | None
    inference_mode: bool
    multiple_trainloader_mode: Literal["max_size_cycle", "min_size", "max_size", "sequential"]
    reload_dataloaders_every_n_epochs: int
    use_distributed_sampler: bool
    prepare_data_per_node: bool | None
    sync_batchnorm: bool
    auto_lr_find: bool | str
    auto_scale_batch_size: bool | str | None
    profiler: Any  # a name, or a profiler
    log_gpu_memory: Literal["all", "min_max"] | None
    move_metrics_to_cpu: bool
    default_root_dir: str | PathLike[str] | None
    weights_save_path: str | PathLike[str] | None
    barebones: bool
    enable_autolog_hparams: bool
