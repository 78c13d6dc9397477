"""Callbacks: `base.Callback` and one small file a member, imported when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.callbacks.base import Callback
from engine.lazy import on_demand

if TYPE_CHECKING:
    from engine.callbacks.accumulation import GradientAccumulationScheduler
    from engine.callbacks.bar_counts import ProgressBarBase
    from engine.callbacks.device_stats import DeviceStatsMonitor, GPUStatsMonitor
    from engine.callbacks.early_stopping import EarlyStopping
    from engine.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
    from engine.callbacks.function import LambdaCallback
    from engine.callbacks.lr_monitor import LearningRateLogger, LearningRateMonitor
    from engine.callbacks.model_checkpoint import ModelCheckpoint
    from engine.callbacks.on_exception import OnExceptionCheckpoint
    from engine.callbacks.prediction_writer import BasePredictionWriter, PredictionWriter
    from engine.callbacks.print_table import PrintTableMetricsCallback
    from engine.callbacks.progress import ProgressBar, RichProgressBar, TQDMProgressBar
    from engine.callbacks.pruning import ModelPruning
    from engine.callbacks.refused import QuantizationAwareTraining, XLAStatsMonitor
    from engine.callbacks.summary import ModelSummary, RichModelSummary
    from engine.callbacks.swa import StochasticWeightAveraging
    from engine.callbacks.timer import Timer
    from engine.callbacks.tuning import BatchSizeFinder, LearningRateFinder
    from engine.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

_MEMBERS = {
    "BackboneFinetuning": "engine.callbacks.finetuning",
    "BaseFinetuning": "engine.callbacks.finetuning",
    "BasePredictionWriter": "engine.callbacks.prediction_writer",
    "BatchSizeFinder": "engine.callbacks.tuning",
    "DeviceStatsMonitor": "engine.callbacks.device_stats",
    "EMAWeightAveraging": "engine.callbacks.weight_averaging",
    "EarlyStopping": "engine.callbacks.early_stopping",
    "GPUStatsMonitor": "engine.callbacks.device_stats",
    "GradientAccumulationScheduler": "engine.callbacks.accumulation",
    "LambdaCallback": "engine.callbacks.function",
    "LearningRateFinder": "engine.callbacks.tuning",
    "LearningRateLogger": "engine.callbacks.lr_monitor",
    "LearningRateMonitor": "engine.callbacks.lr_monitor",
    "ModelCheckpoint": "engine.callbacks.model_checkpoint",
    "ModelPruning": "engine.callbacks.pruning",
    "ModelSummary": "engine.callbacks.summary",
    "OnExceptionCheckpoint": "engine.callbacks.on_exception",
    "PredictionWriter": "engine.callbacks.prediction_writer",
    "PrintTableMetricsCallback": "engine.callbacks.print_table",
    "ProgressBar": "engine.callbacks.progress",
    "ProgressBarBase": "engine.callbacks.bar_counts",
    "QuantizationAwareTraining": "engine.callbacks.refused",
    "RichModelSummary": "engine.callbacks.summary",
    "RichProgressBar": "engine.callbacks.progress",
    "StochasticWeightAveraging": "engine.callbacks.swa",
    "TQDMProgressBar": "engine.callbacks.progress",
    "Timer": "engine.callbacks.timer",
    "WeightAveraging": "engine.callbacks.weight_averaging",
    "XLAStatsMonitor": "engine.callbacks.refused",
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
