"""What a Trainer is given: callbacks, loggers, profilers, strategies, plugins, metrics."""

from __future__ import annotations

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
    "engine.compat.shims.absent": "XLAProfiler",
}
_ALL_ENVIRONMENTS = {
    _STRATEGIES: "ClusterEnvironment LightningEnvironment SLURMEnvironment TorchElasticEnvironment",
    "engine.compat.shims.absent": "KubeflowEnvironment LSFEnvironment MPIEnvironment "
    "XLAEnvironment",
}
_PRECISION = {
    "engine.compat.shims.absent": "ApexMixedPrecisionPlugin BitsandbytesPrecision "
    "TransformerEnginePrecision DeepSpeedPrecisionPlugin DoublePrecision "
    "TPUBf16PrecisionPlugin DoublePrecisionPlugin FSDPMixedPrecisionPlugin FSDPPrecision "
    "FullyShardedNativeMixedPrecisionPlugin HalfPrecision IPUPrecisionPlugin MixedPrecision "
    "MixedPrecisionPlugin NativeMixedPrecisionPlugin Precision PrecisionPlugin "
    "ShardedNativeMixedPrecisionPlugin TPUPrecisionPlugin"
}
_IO = {
    "engine.compat.shims.absent": "AsyncCheckpointIO CheckpointIO TorchCheckpointIO XLACheckpointIO"
}
_OLD_STRATEGIES = {
    _STRATEGIES: "DDP2Plugin DDPFullyShardedPlugin DDPPlugin DDPShardedPlugin DDPSpawnPlugin "
    "DataParallelPlugin DeepSpeedPlugin SingleDevicePlugin",
    "engine.compat.shims.absent": "DDPSpawnShardedPlugin HorovodPlugin IPUPlugin ParallelPlugin "
    "RPCPlugin "
    "RPCSequentialPlugin SingleTPUPlugin TPUSpawnPlugin TrainingTypePlugin",
}
_NEW_STRATEGIES = {
    _STRATEGIES: "DDP2Strategy DDPFullyShardedNativeStrategy=FSDPStrategy "
    "DDPFullyShardedStrategy DDPShardedStrategy DDPSpawnStrategy DDPStrategy DataParallelStrategy "
    "DeepSpeedStrategy FSDPStrategy SingleDeviceStrategy Strategy=SingleDevice",
    "engine.compat.shims.absent": "BaguaStrategy DDPSpawnShardedStrategy HivemindStrategy "
    "HorovodStrategy "
    "IPUStrategy ModelParallelStrategy SingleTPUStrategy TPUSpawnStrategy "
    "XLAStrategy",
    "engine.compat.commandline.registries": "StrategyRegistry",
    "engine.compat.shims.strategies": "ParallelStrategy",
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
        "engine.compat.shims.absent": "SpikeDetection ThroughputMonitor",
    },
    "callbacks.base": {_CALLBACKS: "Callback"},
    "callbacks.batch_size_finder": {_CALLBACKS: "BatchSizeFinder"},
    "callbacks.callback": {_CALLBACKS: "Callback"},
    "callbacks.checkpoint": {_CALLBACKS: "Checkpoint=ModelCheckpoint ModelCheckpoint"},
    "callbacks.device_stats_monitor": {_CALLBACKS: "DeviceStatsMonitor"},
    "callbacks.early_stopping": {_CALLBACKS: "EarlyStopping"},
    "callbacks.finetuning": {
        _CALLBACKS: "BackboneFinetuning BaseFinetuning",
        "engine.compat.versions.numbers": "multiplicative",
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
        "engine.compat.utilities.enums": "WriteInterval",
    },
    "callbacks.progress": {
        _CALLBACKS: "ProgressBar ProgressBarBase RichProgressBar TQDMProgressBar",
        "engine.compat.shims.bars": "tqdm",
    },
    "callbacks.progress.base": {
        _CALLBACKS: "ProgressBar ProgressBarBase",
        "engine.compat.shims.bars": "get_standard_metrics",
    },
    "callbacks.progress.progress_bar": {_CALLBACKS: "ProgressBar"},
    "callbacks.progress.rich_progress": {
        _CALLBACKS: "RichProgressBar",
        "engine.compat.shims.bars": "RichProgressBarTheme",
    },
    "callbacks.progress.tqdm_progress": {
        _CALLBACKS: "TQDMProgressBar",
        "engine.compat.shims.bars": "_update_n Tqdm=tqdm convert_inf reset tqdm",
    },
    "callbacks.pruning": {_CALLBACKS: "ModelPruning"},
    "callbacks.quantization": {_CALLBACKS: "QuantizationAwareTraining"},
    "callbacks.rich_model_summary": {_CALLBACKS: "RichModelSummary"},
    "callbacks.spike": {"engine.compat.shims.absent": "SpikeDetection"},
    "callbacks.throughput_monitor": {"engine.compat.shims.absent": "ThroughputMonitor"},
    "callbacks.stochastic_weight_avg": {_CALLBACKS: "StochasticWeightAveraging"},
    "callbacks.swa": {_CALLBACKS: "StochasticWeightAveraging"},
    "callbacks.timer": {_CALLBACKS: "Timer", "engine.compat.utilities.enums": "Interval"},
    "callbacks.weight_averaging": {_CALLBACKS: "EMAWeightAveraging WeightAveraging"},
    "callbacks.xla_stats_monitor": {_CALLBACKS: "XLAStatsMonitor"},
    # loggers
    "loggers": {
        _LOGGERS: "CSVLogger CometLogger LightningLoggerBase=Logger Logger LoggerCollection "
        "MLFlowLogger NeptuneLogger TensorBoardLogger TestTubeLogger WandbLogger",
    },
    "loggers.base": _LOGGER_BASE,
    "loggers.comet": {_LOGGERS: "CometLogger"},
    "loggers.csv_logs": {_LOGGERS: "CSVLogger", "engine.compat.shims.absent": "ExperimentWriter"},
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
        "engine.compat.shims.absent": "RegisterRecordFunction ScheduleWrapper",
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
    "strategies.parallel": {"engine.compat.shims.strategies": "ParallelStrategy"},
    "strategies.sharded": {_STRATEGIES: "DDPShardedStrategy"},
    "strategies.single_device": {_STRATEGIES: "SingleDeviceStrategy"},
    "strategies.strategy": {_STRATEGIES: "Strategy=SingleDevice"},
    "plugins": {
        _STRATEGIES: f"{_OLD_STRATEGIES[_STRATEGIES]} ClusterEnvironment",
        "engine.compat.shims.absent": " ".join(
            [
                _OLD_STRATEGIES["engine.compat.shims.absent"],
                _PRECISION["engine.compat.shims.absent"],
                _IO["engine.compat.shims.absent"],
                "LayerSync NativeSyncBatchNorm TorchSyncBatchNorm TrainingTypePluginsRegistry",
            ]
        ),
    },
    "plugins.ddp_plugin": {_STRATEGIES: "DDPPlugin"},
    "plugins.environments": _ALL_ENVIRONMENTS,
    "plugins.environments.cluster_environment": {_STRATEGIES: "ClusterEnvironment"},
    "plugins.environments.lightning_environment": {
        _STRATEGIES: "LightningEnvironment",
        "engine.compat.shims.accelerators": "find_free_network_port",
    },
    "plugins.environments.slurm_environment": {_STRATEGIES: "SLURMEnvironment"},
    "plugins.environments.torchelastic_environment": {_STRATEGIES: "TorchElasticEnvironment"},
    "plugins.io": _IO,
    "plugins.io.checkpoint_plugin": {"engine.compat.shims.absent": "CheckpointIO"},
    "plugins.io.torch_plugin": {"engine.compat.shims.absent": "TorchCheckpointIO"},
    "plugins.precision": _PRECISION,
    "plugins.precision.native_amp": {
        "engine.compat.shims.absent": "MixedPrecisionPlugin NativeMixedPrecisionPlugin"
    },
    "plugins.precision.sharded_native_amp": {
        "engine.compat.shims.absent": "ShardedNativeMixedPrecisionPlugin"
    },
    "plugins.training_type": _OLD_STRATEGIES,
    "plugins.training_type.ddp": {_STRATEGIES: "DDPPlugin"},
    "plugins.training_type.ddp_spawn": {_STRATEGIES: "DDPSpawnPlugin"},
    "plugins.training_type.deepspeed": {_STRATEGIES: "DeepSpeedPlugin"},
    "plugins.training_type.parallel": {"engine.compat.shims.absent": "ParallelPlugin"},
    "plugins.training_type.sharded": {_STRATEGIES: "DDPShardedPlugin"},
    "plugins.training_type.horovod": {"engine.compat.shims.absent": "HorovodPlugin"},
    "plugins.training_type.single_device": {_STRATEGIES: "SingleDevicePlugin"},
    "plugins.training_type.training_type_plugin": {
        "engine.compat.shims.absent": "TrainingTypePlugin"
    },
    "accelerators": {
        "engine.compat.shims.accelerators": "Accelerator CPUAccelerator "
        "CUDAAccelerator=GPUAccelerator "
        "GPUAccelerator find_usable_cuda_devices",
        "engine.compat.shims.absent": "HPUAccelerator IPUAccelerator MPSAccelerator TPUAccelerator "
        "XLAAccelerator",
    },
    "accelerators.accelerator": {"engine.compat.shims.accelerators": "Accelerator"},
    "accelerators.cpu": {"engine.compat.shims.accelerators": "CPUAccelerator"},
    "accelerators.cuda": {"engine.compat.shims.accelerators": "CUDAAccelerator=GPUAccelerator"},
    "accelerators.gpu": {"engine.compat.shims.accelerators": "GPUAccelerator"},
    "accelerators.mps": {"engine.compat.shims.absent": "MPSAccelerator"},
    "overrides": {
        "engine.compat.shims.wrapped": "LightningDistributedModule LightningParallelModule "
        "unwrap_lightning_module"
    },
    "overrides.base": {
        "engine.compat.shims.wrapped": "_LightningModuleWrapperBase=LightningDistributedModule "
        "unwrap_lightning_module"
    },
    "overrides.data_parallel": {
        "engine.compat.shims.wrapped": "LightningDataParallel LightningDistributedDataParallel "
        "LightningParallelModule"
    },
    "overrides.distributed": {
        "engine.compat.shims.wrapped": "LightningDistributedModule",
        "engine.compat.shims.absent": "DistributedSamplerWrapper IndexBatchSamplerWrapper "
        "prepare_for_backward UnrepeatedDistributedSampler",
    },
    # finding sizes and rates
    "tuner": {"engine.tuner": "Tuner"},
    "tuner.batch_size_scaling": {"engine.compat.shims.tuning": "scale_batch_size"},
    "tuner.lr_finder": {
        "engine.tuner.lr_finder": "LRFinder _LRFinder=LRFinder",
        "engine.compat.shims.tuning": "lr_find",
    },
    "tuner.tuning": {"engine.tuner": "Tuner"},
    # metrics, as before they became torchmetrics
    "metrics": {"engine.metrics": "*", "engine.compat.shims.metrics": "Metric MetricCollection"},
    "metrics.classification": {"engine.metrics": "*"},
    "metrics.functional": {"engine.metrics.functional": "*"},
    "metrics.functional.classification": {"engine.metrics.functional": "*"},
    "metrics.functional.regression": {"engine.metrics.functional": "*"},
    "metrics.metric": {"engine.compat.shims.metrics": "Metric MetricCollection"},
    "metrics.regression": {"engine.metrics": "*"},
}
