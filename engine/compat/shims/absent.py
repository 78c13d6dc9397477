"""Names of what the engine does not do: they can be imported, and say so when they are called.

A program often imports at its head what it uses in one case only; that must not keep it from
running.
"""

from __future__ import annotations

from typing import Any

from engine.runtime.errors import MisconfigurationException

_SHARDED = 'use Trainer(strategy="fsdp"), which divides model and optimizer over the ranks'
_TPU = "there are no TPUs here; use GPUs or the CPU"
_IPU = "there are no IPUs here; use GPUs or the CPU"
_PRECISION = "say it to the Trainer: precision=16, 'bf16' or 64"
_DATA_PARALLEL = 'use Trainer(strategy="ddp"), one process a GPU'
_LAUNCHED = "start the script with plaunch, torchrun or srun: their variables are read"
_OWN_LOOP = (
    "the Trainer's loops are functions; override hooks of the module, or set "
    "`self.automatic_optimization = False` and step by hand"
)
_RESULT = "return the loss, or a dict with it, and log values with self.log"
_INSIDE = "it was a part of Lightning's own inside; read what you need from the trainer"
_IO = (
    "checkpoints are written whole or not at all, as plain data; override `on_save_checkpoint` to "
    "change what is in them"
)
_BATCHNORM = "use Trainer(sync_batchnorm=True)"
_SAMPLER = "the Trainer divides samples over ranks by itself, in training and evaluation"

# By what to do instead.
_GROUPS = {
    _SHARDED: "BaguaStrategy DDPSpawnShardedPlugin DDPSpawnShardedStrategy "
    "DeepSpeedPrecisionPlugin LightningDeepSpeedModule LightningShardedDataParallel "
    "ModelParallelStrategy RPCPlugin RPCSequentialPlugin "
    "ShardedNativeMixedPrecisionPlugin",
    _DATA_PARALLEL: "HivemindStrategy HorovodPlugin HorovodStrategy ParallelPlugin "
    "TrainingTypePlugin register_ddp_comm_hook",
    _LAUNCHED: "KubeflowEnvironment LSFEnvironment MPIEnvironment",
    _TPU: "SingleTPUPlugin SingleTPUStrategy TPUAccelerator TPUBf16PrecisionPlugin "
    "TPUPrecisionPlugin TPUSpawnPlugin TPUSpawnStrategy XLAAccelerator "
    "XLACheckpointIO XLADeviceUtils XLAEnvironment XLAProfiler XLAStrategy",
    "there are no Gaudi devices here; use GPUs or the CPU": "HPUAccelerator",
    _IPU: "IPUAccelerator IPUPlugin IPUPrecisionPlugin IPUStrategy LightningIPUModule",
    _INSIDE: "AbstractClosure AbstractDataFetcher AcceleratorConnector BaseProgress BatchProgress "
    "CallbackConnector CaptureIterableDataset CaptureMapDataset CheckpointConnector Closure "
    "ClosureResult DataConnector DataFetcher DataLoaderIterDataFetcher FastForwardSampler "
    "InterBatchParallelDataFetcher LightningDistributed LoggerConnector ManualResult "
    "OptimizationProgress OutputResult Progress ReadyCompletedTracker RegisterRecordFunction "
    "ResultCollection ScheduleWrapper SchedulerProgress SignalConnector "
    "TrainerCallbackHookMixin TrainerDataLoadingMixin TrainerModelHooksMixin "
    "TrainerOptimizersMixin TrainingTypePluginsRegistry _DataFetcher _ResultCollection "
    "init_meta_context materialize_module prepare_for_backward",
    "there is no MPS here; use GPUs or the CPU": "MPSAccelerator",
    _PRECISION: "ApexMixedPrecisionPlugin DoublePrecision DoublePrecisionPlugin "
    "LightningDoublePrecisionModule "
    "BitsandbytesPrecision FSDPMixedPrecisionPlugin FSDPPrecision TransformerEnginePrecision "
    "FullyShardedNativeMixedPrecisionPlugin HalfPrecision "
    "MixedPrecision MixedPrecisionPlugin NativeMixedPrecisionPlugin Precision PrecisionPlugin",
    _IO: "AsyncCheckpointIO CheckpointIO TorchCheckpointIO upgrade_checkpoint "
    "convert_zero_checkpoint_to_fp32_state_dict",
    _BATCHNORM: "LayerSync NativeSyncBatchNorm TorchSyncBatchNorm",
    _SAMPLER: "DistributedSamplerWrapper IndexBatchSamplerWrapper UnrepeatedDistributedSampler",
    _OWN_LOOP: "DataLoaderLoop EvaluationEpochLoop EvaluationLoop FitLoop ManualOptimization "
    "OptimizerLoop PredictionEpochLoop PredictionLoop TrainingBatchLoop TrainingEpochLoop",
    "use LightningLite, which has its methods but `launch`": "Fabric _FabricModule "
    "_FabricOptimizer is_wrapped",
    "use CSVLogger; its `experiment` writes": "ExperimentWriter",
    _RESULT: "EvalResult Result TrainResult",
    "log what you watch for with self.log": "SpikeDetection ThroughputMonitor",
    "torch.utils.flop_counter.FlopCounterMode counts": "measure_flops",
    "let rank zero write a file and look for it on the others": "is_shared_filesystem",
    "there is no server for models": "ServableModule ServableModuleValidator",
    "checkpoints are one file, also of strategy='fsdp'": "migrate_checkpoint",
}
_INSTEAD = {name: text for text, names in _GROUPS.items() for name in names.split()}


class Absent:
    """Something of Lightning's that the engine has nothing for. Making one says what to use."""

    _instead = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        kind = next(c.__name__ for c in type(self).__mro__ if "_instead" in vars(c))
        raise MisconfigurationException(
            f"{kind} is not in the engine, which stands in for Lightning here: {self._instead}"
        )


def __getattr__(name: str) -> Any:
    if name not in _INSTEAD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = type(name, (Absent,), {"_instead": _INSTEAD[name], "__module__": __name__})
    globals()[name] = made
    return made
