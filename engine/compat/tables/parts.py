"""What a Trainer is given: callbacks, loggers, profilers, strategies, plugins, metrics."""

from __future__ import annotations

_KEPT = "engine.compat.kept"
_CALLBACKS = "engine.callbacks"
_LOGGERS = "engine.loggers"
_PROFILERS = "engine.profilers"
_STRATEGIES = "engine.strategies"

_LOGGER_BASE = {
    _LOGGERS: "DummyExperiment DummyLogger LightningLoggerBase=Logger Logger LoggerCollection "
    "rank_zero_experiment",
}
_PROFILER_BASE = {
    _PROFILERS: "AbstractProfiler=Profiler BaseProfiler=Profiler PassThroughProfiler Profiler"
}
_ALL_PROFILERS = {
    _PROFILERS: f"{_PROFILER_BASE[_PROFILERS]} AdvancedProfiler PyTorchProfiler SimpleProfiler",
    f"{_KEPT}.absent": "XLAProfiler",
}
_ALL_ENVIRONMENTS = {
    _STRATEGIES: "ClusterEnvironment LightningEnvironment SLURMEnvironment TorchElasticEnvironment",
    f"{_KEPT}.absent": "KubeflowEnvironment LSFEnvironment MPIEnvironment XLAEnvironment",
}
_PRECISION = {
    f"{_KEPT}.absent": "ApexMixedPrecisionPlugin BitsandbytesPrecision "
    "TransformerEnginePrecision DeepSpeedPrecisionPlugin DoublePrecision "
    "TPUBf16PrecisionPlugin DoublePrecisionPlugin FSDPMixedPrecisionPlugin FSDPPrecision "
    "FullyShardedNativeMixedPrecisionPlugin HalfPrecision IPUPrecisionPlugin MixedPrecision "
    "MixedPrecisionPlugin NativeMixedPrecisionPlugin Precision PrecisionPlugin "
    "ShardedNativeMixedPrecisionPlugin TPUPrecisionPlugin"
}
_IO = {f"{_KEPT}.absent": "AsyncCheckpointIO CheckpointIO TorchCheckpointIO XLACheckpointIO"}
_OLD_STRATEGIES = {
    _STRATEGIES: "DDP2Plugin DDPFullyShardedPlugin DDPPlugin DDPShardedPlugin DDPSpawnPlugin "
    "DataParallelPlugin DeepSpeedPlugin SingleDevicePlugin",
    f"{_KEPT}.absent": "DDPSpawnShardedPlugin HorovodPlugin IPUPlugin ParallelPlugin RPCPlugin "
    "RPCSequentialPlugin SingleTPUPlugin TPUSpawnPlugin TrainingTypePlugin",
}
_NEW_STRATEGIES = {
    _STRATEGIES: "DDP2Strategy DDPFullyShardedNativeStrategy=FSDPStrategy "
    "DDPFullyShardedStrategy DDPShardedStrategy DDPSpawnStrategy DDPStrategy DataParallelStrategy "
    "DeepSpeedStrategy FSDPStrategy SingleDeviceStrategy Strategy=SingleDevice",
    f"{_KEPT}.absent": "BaguaStrategy DDPSpawnShardedStrategy HivemindStrategy HorovodStrategy "
    "IPUStrategy ModelParallelStrategy SingleTPUStrategy TPUSpawnStrategy "
    "XLAStrategy",
    f"{_KEPT}.registries": "StrategyRegistry",
    f"{_KEPT}.strategies": "ParallelStrategy",
}

PARTS: dict[str, dict[str, str]] = {
    "callbacks": {
        _CALLBACKS: "BackboneFinetuning BaseFinetuning BasePredictionWriter BatchSizeFinder "
        "Callback Checkpoint=ModelCheckpoint DeviceStatsMonitor EMAWeightAveraging EarlyStopping "
        "GPUStatsMonitor GradientAccumulationScheduler LambdaCallback LearningRateFinder "
        "LearningRateLogger LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary "
        "OnExceptionCheckpoint ProgressBar ProgressBarBase QuantizationAwareTraining "
        "RichModelSummary RichProgressBar StochasticWeightAveraging TQDMProgressBar Timer "
        "WeightAveraging XLAStatsMonitor",
        f"{_KEPT}.absent": "SpikeDetection ThroughputMonitor",
    },
    "callbacks.base": {_CALLBACKS: "Callback"},
    "callbacks.batch_size_finder": {_CALLBACKS: "BatchSizeFinder"},
    "callbacks.callback": {_CALLBACKS: "Callback"},
    "callbacks.checkpoint": {_CALLBACKS: "Checkpoint=ModelCheckpoint ModelCheckpoint"},
    "callbacks.device_stats_monitor": {_CALLBACKS: "DeviceStatsMonitor"},
    "callbacks.early_stopping": {_CALLBACKS: "EarlyStopping"},
    "callbacks.finetuning": {
        _CALLBACKS: "BackboneFinetuning BaseFinetuning",
        f"{_KEPT}.numbers": "multiplicative",
    },
    "callbacks.gpu_stats_monitor": {_CALLBACKS: "GPUStatsMonitor"},
    "callbacks.gradient_accumulation_scheduler": {_CALLBACKS: "GradientAccumulationScheduler"},
    "callbacks.lambda_function": {_CALLBACKS: "LambdaCallback"},
    "callbacks.lr_finder": {_CALLBACKS: "LearningRateFinder"},
    "callbacks.lr_logger": {_CALLBACKS: "LearningRateLogger"},
    "callbacks.lr_monitor": {_CALLBACKS: "LearningRateMonitor"},
    "callbacks.model_checkpoint": {_CALLBACKS: "ModelCheckpoint"},
    "callbacks.model_summary": {_CALLBACKS: "ModelSummary"},
    "callbacks.on_exception_checkpoint": {_CALLBACKS: "OnExceptionCheckpoint"},
    "callbacks.prediction_writer": {
        _CALLBACKS: "BasePredictionWriter",
        f"{_KEPT}.enums": "WriteInterval",
    },
    "callbacks.progress": {
        _CALLBACKS: "ProgressBar ProgressBarBase RichProgressBar TQDMProgressBar",
        f"{_KEPT}.bars": "tqdm",
    },
    "callbacks.progress.base": {
        _CALLBACKS: "ProgressBar ProgressBarBase",
        f"{_KEPT}.bars": "get_standard_metrics",
    },
    "callbacks.progress.progress_bar": {_CALLBACKS: "ProgressBar"},
    "callbacks.progress.rich_progress": {
        _CALLBACKS: "RichProgressBar",
        f"{_KEPT}.bars": "RichProgressBarTheme",
    },
    "callbacks.progress.tqdm_progress": {
        _CALLBACKS: "TQDMProgressBar",
        f"{_KEPT}.bars": "_update_n Tqdm=tqdm convert_inf reset tqdm",
    },
    "callbacks.pruning": {_CALLBACKS: "ModelPruning"},
    "callbacks.quantization": {_CALLBACKS: "QuantizationAwareTraining"},
    "callbacks.rich_model_summary": {_CALLBACKS: "RichModelSummary"},
    "callbacks.spike": {f"{_KEPT}.absent": "SpikeDetection"},
    "callbacks.throughput_monitor": {f"{_KEPT}.absent": "ThroughputMonitor"},
    "callbacks.stochastic_weight_avg": {_CALLBACKS: "StochasticWeightAveraging"},
    "callbacks.swa": {_CALLBACKS: "StochasticWeightAveraging"},
    "callbacks.timer": {_CALLBACKS: "Timer", f"{_KEPT}.enums": "Interval"},
    "callbacks.weight_averaging": {_CALLBACKS: "EMAWeightAveraging WeightAveraging"},
    "callbacks.xla_stats_monitor": {_CALLBACKS: "XLAStatsMonitor"},
    # loggers
    "loggers": {
        _LOGGERS: "CSVLogger CometLogger LightningLoggerBase=Logger Logger LoggerCollection "
        "MLFlowLogger NeptuneLogger TensorBoardLogger TestTubeLogger WandbLogger",
    },
    "loggers.base": _LOGGER_BASE,
    "loggers.comet": {_LOGGERS: "CometLogger"},
    "loggers.csv_logs": {_LOGGERS: "CSVLogger", f"{_KEPT}.absent": "ExperimentWriter"},
    "loggers.logger": _LOGGER_BASE,
    "loggers.mlflow": {_LOGGERS: "MLFlowLogger"},
    "loggers.neptune": {_LOGGERS: "NeptuneLogger"},
    "loggers.tensorboard": {_LOGGERS: "TensorBoardLogger"},
    "loggers.test_tube": {_LOGGERS: "TestTubeLogger"},
    "loggers.wandb": {_LOGGERS: "WandbLogger"},
    # profilers
    "profiler": _ALL_PROFILERS,
    "profiler.advanced": {_PROFILERS: "AdvancedProfiler"},
    "profiler.base": _PROFILER_BASE,
    "profiler.profilers": _ALL_PROFILERS,
    "profiler.pytorch": {
        _PROFILERS: "PyTorchProfiler",
        f"{_KEPT}.absent": "RegisterRecordFunction ScheduleWrapper",
    },
    "profiler.simple": {_PROFILERS: "SimpleProfiler"},
    "profilers": _ALL_PROFILERS,
    "profilers.advanced": {_PROFILERS: "AdvancedProfiler"},
    "profilers.base": _PROFILER_BASE,
    "profilers.profiler": _PROFILER_BASE,
    "profilers.pytorch": {_PROFILERS: "PyTorchProfiler"},
    "profilers.simple": {_PROFILERS: "SimpleProfiler"},
    # several processes
    "strategies": _NEW_STRATEGIES,
    "strategies.ddp": {_STRATEGIES: "DDPStrategy"},
    "strategies.ddp_spawn": {_STRATEGIES: "DDPSpawnStrategy"},
    "strategies.deepspeed": {_STRATEGIES: "DeepSpeedStrategy"},
    "strategies.dp": {_STRATEGIES: "DataParallelStrategy"},
    "strategies.fsdp": {_STRATEGIES: "FSDPStrategy"},
    "strategies.parallel": {f"{_KEPT}.strategies": "ParallelStrategy"},
    "strategies.sharded": {_STRATEGIES: "DDPShardedStrategy"},
    "strategies.single_device": {_STRATEGIES: "SingleDeviceStrategy"},
    "strategies.strategy": {_STRATEGIES: "Strategy=SingleDevice"},
    "plugins": {
        _STRATEGIES: f"{_OLD_STRATEGIES[_STRATEGIES]} ClusterEnvironment",
        f"{_KEPT}.absent": " ".join(
            [
                _OLD_STRATEGIES[f"{_KEPT}.absent"],
                _PRECISION[f"{_KEPT}.absent"],
                _IO[f"{_KEPT}.absent"],
                "LayerSync NativeSyncBatchNorm TorchSyncBatchNorm TrainingTypePluginsRegistry",
            ]
        ),
    },
    "plugins.ddp_plugin": {_STRATEGIES: "DDPPlugin"},
    "plugins.environments": _ALL_ENVIRONMENTS,
    "plugins.environments.cluster_environment": {_STRATEGIES: "ClusterEnvironment"},
    "plugins.environments.lightning_environment": {
        _STRATEGIES: "LightningEnvironment",
        f"{_KEPT}.accelerators": "find_free_network_port",
    },
    "plugins.environments.slurm_environment": {_STRATEGIES: "SLURMEnvironment"},
    "plugins.environments.torchelastic_environment": {_STRATEGIES: "TorchElasticEnvironment"},
    "plugins.io": _IO,
    "plugins.io.checkpoint_plugin": {f"{_KEPT}.absent": "CheckpointIO"},
    "plugins.io.torch_plugin": {f"{_KEPT}.absent": "TorchCheckpointIO"},
    "plugins.precision": _PRECISION,
    "plugins.precision.native_amp": {
        f"{_KEPT}.absent": "MixedPrecisionPlugin NativeMixedPrecisionPlugin"
    },
    "plugins.precision.sharded_native_amp": {
        f"{_KEPT}.absent": "ShardedNativeMixedPrecisionPlugin"
    },
    "plugins.training_type": _OLD_STRATEGIES,
    "plugins.training_type.ddp": {_STRATEGIES: "DDPPlugin"},
    "plugins.training_type.ddp_spawn": {_STRATEGIES: "DDPSpawnPlugin"},
    "plugins.training_type.deepspeed": {_STRATEGIES: "DeepSpeedPlugin"},
    "plugins.training_type.parallel": {f"{_KEPT}.absent": "ParallelPlugin"},
    "plugins.training_type.sharded": {_STRATEGIES: "DDPShardedPlugin"},
    "plugins.training_type.horovod": {f"{_KEPT}.absent": "HorovodPlugin"},
    "plugins.training_type.single_device": {_STRATEGIES: "SingleDevicePlugin"},
    "plugins.training_type.training_type_plugin": {f"{_KEPT}.absent": "TrainingTypePlugin"},
    "accelerators": {
        f"{_KEPT}.accelerators": "Accelerator CPUAccelerator CUDAAccelerator=GPUAccelerator "
        "GPUAccelerator find_usable_cuda_devices",
        f"{_KEPT}.absent": "HPUAccelerator IPUAccelerator MPSAccelerator TPUAccelerator "
        "XLAAccelerator",
    },
    "accelerators.accelerator": {f"{_KEPT}.accelerators": "Accelerator"},
    "accelerators.cpu": {f"{_KEPT}.accelerators": "CPUAccelerator"},
    "accelerators.cuda": {f"{_KEPT}.accelerators": "CUDAAccelerator=GPUAccelerator"},
    "accelerators.gpu": {f"{_KEPT}.accelerators": "GPUAccelerator"},
    "accelerators.mps": {f"{_KEPT}.absent": "MPSAccelerator"},
    "overrides": {
        f"{_KEPT}.wrapped": "LightningDistributedModule LightningParallelModule "
        "unwrap_lightning_module"
    },
    "overrides.base": {
        f"{_KEPT}.wrapped": "_LightningModuleWrapperBase=LightningDistributedModule "
        "unwrap_lightning_module"
    },
    "overrides.data_parallel": {
        f"{_KEPT}.wrapped": "LightningDataParallel LightningDistributedDataParallel "
        "LightningParallelModule"
    },
    "overrides.distributed": {
        f"{_KEPT}.wrapped": "LightningDistributedModule",
        f"{_KEPT}.absent": "DistributedSamplerWrapper IndexBatchSamplerWrapper "
        "prepare_for_backward UnrepeatedDistributedSampler",
    },
    # finding sizes and rates
    "tuner": {"engine.tuner": "Tuner"},
    "tuner.batch_size_scaling": {f"{_KEPT}.tuning": "scale_batch_size"},
    "tuner.lr_finder": {
        "engine.tuner.lr_finder": "LRFinder _LRFinder=LRFinder",
        f"{_KEPT}.tuning": "lr_find",
    },
    "tuner.tuning": {"engine.tuner": "Tuner"},
    # metrics, as before they became torchmetrics
    "metrics": {"engine.metrics": "*", f"{_KEPT}.metrics": "Metric MetricCollection"},
    "metrics.classification": {"engine.metrics": "*"},
    "metrics.functional": {"engine.metrics.functional": "*"},
    "metrics.functional.classification": {"engine.metrics.functional": "*"},
    "metrics.functional.regression": {"engine.metrics.functional": "*"},
    "metrics.metric": {f"{_KEPT}.metrics": "Metric MetricCollection"},
    "metrics.regression": {"engine.metrics": "*"},
}
