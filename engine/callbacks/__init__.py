"""Callbacks: `base.Callback` and one small file a member, imported when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.callbacks.base import Callback
from engine.runtime.lazy import on_demand

if TYPE_CHECKING:
    from engine.callbacks.checkpoint.model_checkpoint import ModelCheckpoint
    from engine.callbacks.checkpoint.on_exception import OnExceptionCheckpoint
    from engine.callbacks.lambda_callback import LambdaCallback
    from engine.callbacks.monitors.device_stats import DeviceStatsMonitor, GPUStatsMonitor
    from engine.callbacks.monitors.lr_monitor import LearningRateLogger, LearningRateMonitor
    from engine.callbacks.monitors.summary import ModelSummary, RichModelSummary
    from engine.callbacks.prediction_writer import BasePredictionWriter, PredictionWriter
    from engine.callbacks.progress.bar import ProgressBar, RichProgressBar, TQDMProgressBar
    from engine.callbacks.progress.bar_counts import ProgressBarBase
    from engine.callbacks.progress.print_table import PrintTableMetricsCallback
    from engine.callbacks.stopping.early_stopping import EarlyStopping
    from engine.callbacks.stopping.timer import Timer
    from engine.callbacks.training.accumulation import GradientAccumulationScheduler
    from engine.callbacks.training.finetuning import BackboneFinetuning, BaseFinetuning
    from engine.callbacks.training.pruning import ModelPruning
    from engine.callbacks.training.swa import StochasticWeightAveraging
    from engine.callbacks.training.weight_averaging import EMAWeightAveraging, WeightAveraging
    from engine.compat.shims.callbacks import QuantizationAwareTraining, XLAStatsMonitor
    from engine.tuner.callbacks import BatchSizeFinder, LearningRateFinder

_MEMBERS = {
    "BackboneFinetuning": "engine.callbacks.training.finetuning",
    "BaseFinetuning": "engine.callbacks.training.finetuning",
    "BasePredictionWriter": "engine.callbacks.prediction_writer",
    "BatchSizeFinder": "engine.tuner.callbacks",
    "DeviceStatsMonitor": "engine.callbacks.monitors.device_stats",
    "EMAWeightAveraging": "engine.callbacks.training.weight_averaging",
    "EarlyStopping": "engine.callbacks.stopping.early_stopping",
    "GPUStatsMonitor": "engine.callbacks.monitors.device_stats",
    "GradientAccumulationScheduler": "engine.callbacks.training.accumulation",
    "LambdaCallback": "engine.callbacks.lambda_callback",
    "LearningRateFinder": "engine.tuner.callbacks",
    "LearningRateLogger": "engine.callbacks.monitors.lr_monitor",
    "LearningRateMonitor": "engine.callbacks.monitors.lr_monitor",
    "ModelCheckpoint": "engine.callbacks.checkpoint.model_checkpoint",
    "ModelPruning": "engine.callbacks.training.pruning",
    "ModelSummary": "engine.callbacks.monitors.summary",
    "OnExceptionCheckpoint": "engine.callbacks.checkpoint.on_exception",
    "PredictionWriter": "engine.callbacks.prediction_writer",
    "PrintTableMetricsCallback": "engine.callbacks.progress.print_table",
    "ProgressBar": "engine.callbacks.progress.bar",
    "ProgressBarBase": "engine.callbacks.progress.bar_counts",
    "QuantizationAwareTraining": "engine.compat.shims.callbacks",
    "RichModelSummary": "engine.callbacks.monitors.summary",
    "RichProgressBar": "engine.callbacks.progress.bar",
    "StochasticWeightAveraging": "engine.callbacks.training.swa",
    "TQDMProgressBar": "engine.callbacks.progress.bar",
    "Timer": "engine.callbacks.stopping.timer",
    "WeightAveraging": "engine.callbacks.training.weight_averaging",
    "XLAStatsMonitor": "engine.compat.shims.callbacks",
}

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GPUStatsMonitor",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateLogger",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelPruning",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "PredictionWriter",
    "PrintTableMetricsCallback",
    "ProgressBar",
    "ProgressBarBase",
    "QuantizationAwareTraining",
    "RichModelSummary",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "Timer",
    "WeightAveraging",
    "XLAStatsMonitor",
]

__getattr__ = on_demand(__name__, _MEMBERS)
