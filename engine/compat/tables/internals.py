"""Modules of Lightning's own inside: what programs import of them for one case, or for a type."""

from __future__ import annotations

_STRATEGIES = "engine.strategies"


def _absent(names: str) -> dict[str, str]:
    return {"engine.compat.shims.absent": names}


INSIDE: dict[str, dict[str, str]] = {
    "accelerators.ipu": _absent("IPUAccelerator"),
    "accelerators.tpu": _absent("TPUAccelerator"),
    "callbacks.progress.progress": {"engine.callbacks": "ProgressBar"},
    "distributed": _absent("LightningDistributed"),
    "distributed.dist": _absent("LightningDistributed"),
    "loops.dataloader.dataloader_loop": _absent("DataLoaderLoop"),
    "loops.fetchers": _absent("_DataFetcher"),
    "loops.optimization.closure": _absent("AbstractClosure OutputResult"),
    "overrides.fairscale": _absent("LightningShardedDataParallel"),
    "plugins.environments.kubeflow_environment": _absent("KubeflowEnvironment"),
    "plugins.environments.lsf_environment": _absent("LSFEnvironment"),
    "plugins.io.xla_plugin": _absent("XLACheckpointIO"),
    "plugins.plugins_registry": _absent("TrainingTypePluginsRegistry"),
    "plugins.precision.apex_amp": _absent("ApexMixedPrecisionPlugin"),
    "plugins.precision.deepspeed_precision": _absent("DeepSpeedPrecisionPlugin"),
    "plugins.precision.double": _absent("DoublePrecisionPlugin LightningDoublePrecisionModule"),
    "plugins.precision.fully_sharded_native_amp": _absent("FullyShardedNativeMixedPrecisionPlugin"),
    "plugins.precision.ipu_precision": _absent("IPUPrecisionPlugin"),
    "plugins.precision.mixed": _absent("MixedPrecisionPlugin"),
    "plugins.precision.precision_plugin": _absent("PrecisionPlugin"),
    "plugins.precision.tpu": _absent("TPUPrecisionPlugin"),
    "plugins.precision.tpu_bf16": _absent("TPUBf16PrecisionPlugin"),
    "plugins.training_type.ddp2": {_STRATEGIES: "DDP2Plugin"},
    "plugins.training_type.dp": {_STRATEGIES: "DataParallelPlugin"},
    "plugins.training_type.fully_sharded": {_STRATEGIES: "DDPFullyShardedPlugin"},
    "plugins.training_type.ipu": _absent("IPUPlugin LightningIPUModule"),
    "plugins.training_type.sharded_spawn": _absent("DDPSpawnShardedPlugin"),
    "plugins.training_type.single_tpu": _absent("SingleTPUPlugin"),
    "plugins.training_type.tpu_spawn": _absent("TPUSpawnPlugin"),
    "profiler.xla": _absent("XLAProfiler"),
    "trainer.callback_hook": _absent("TrainerCallbackHookMixin"),
    "trainer.connectors.accelerator_connector": _absent("AcceleratorConnector"),
    "trainer.connectors.callback_connector": _absent("CallbackConnector"),
    "trainer.connectors.checkpoint_connector": _absent("CheckpointConnector"),
    "trainer.connectors.data_connector": _absent("DataConnector"),
    "trainer.connectors.logger_connector": _absent("LoggerConnector"),
    "trainer.connectors.logger_connector.logger_connector": _absent("LoggerConnector"),
    "trainer.connectors.logger_connector.result": _absent("ResultCollection _ResultCollection"),
    "trainer.connectors.signal_connector": _absent("SignalConnector"),
    "trainer.data_loading": _absent("TrainerDataLoadingMixin"),
    "trainer.model_hooks": _absent("TrainerModelHooksMixin"),
    "trainer.optimizers": _absent("TrainerOptimizersMixin"),
    "trainer.progress": _absent(
        "BaseProgress BatchProgress OptimizationProgress Progress ReadyCompletedTracker "
        "SchedulerProgress"
    ),
    "tuner.auto_gpu_select": {
        "engine.compat.shims.accelerators": "pick_multiple_gpus pick_single_gpu"
    },
    "utilities.auto_restart": _absent(
        "CaptureIterableDataset CaptureMapDataset FastForwardSampler"
    ),
    "utilities.fetching": _absent(
        "AbstractDataFetcher DataFetcher DataLoaderIterDataFetcher InterBatchParallelDataFetcher"
    ),
    "utilities.meta": _absent("init_meta_context materialize_module"),
    "utilities.parameter_tying": {
        "engine.compat.utilities.sharing": "find_shared_parameters set_shared_parameters"
    },
}
