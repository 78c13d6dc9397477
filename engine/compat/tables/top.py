"""The packages themselves, and the modules that a program of any version begins with."""

from __future__ import annotations

_OFFERED = {
    "engine": "Callback LightningDataModule LightningModule Trainer seed_everything",
}

TOP: dict[str, dict[str, str]] = {
    "": {
        **_OFFERED,
        "engine.compat.versions.about": "__version__=VERSION_1 _logger=logger cli_lightning_logo "
        "data_loader log=logger",
        "engine.compat.shims.absent": "EvalResult TrainResult",
    },
    "core.step_result": {"engine.compat.shims.absent": "EvalResult Result TrainResult"},
    "__about__": {"engine.compat.versions.about": "__version__=VERSION_1"},
    "__version__": {"engine.compat.versions.about": "version=VERSION_1"},
    # what a program is made of
    "core": {
        "engine": "LightningDataModule LightningModule",
        "engine.loops.optimizers": "LightningOptimizer",
        "engine.runtime.data.apply": "auto_move_data",
    },
    "core.datamodule": {"engine": "LightningDataModule"},
    "core.decorators": {"engine.runtime.data.apply": "auto_move_data"},
    "core.grads": {"engine.compat.utilities.mixins": "GradInformation"},
    "core.hooks": {"engine.compat.utilities.mixins": "CheckpointHooks DataHooks ModelHooks"},
    "core.lightning": {
        "engine": "LightningModule",
        "engine.compat.versions.warned": "warning_cache",
    },
    "core.memory": {
        "engine.compat.shims.model_summary": "LayerSummary ModelSummary get_human_readable_count "
        "parse_batch_shape",
        "engine.compat.utilities.tensors": "get_gpu_memory_map get_memory_profile",
    },
    "core.mixins": {
        "engine.compat.utilities.mixins": "DeviceDtypeModuleMixin",
        "engine.module.hyperparameters.hparams": "HyperparametersMixin=KeepsHyperparameters",
    },
    "core.mixins.device_dtype_mixin": {"engine.compat.utilities.mixins": "DeviceDtypeModuleMixin"},
    "core.mixins.hparams_mixin": {
        "engine.module.hyperparameters.hparams": "HyperparametersMixin=KeepsHyperparameters"
    },
    "core.module": {"engine": "LightningModule", "engine.compat.versions.warned": "warning_cache"},
    "core.optimizer": {"engine.loops.optimizers": "LightningOptimizer"},
    "core.saving": {
        "engine.compat.utilities.files": "ModelIO pl_load=load load_hparams_from_tags_csv "
        "load_hparams_from_yaml "
        "save_hparams_to_tags_csv save_hparams_to_yaml update_hparams"
    },
    "trainer": {"engine": "Trainer seed_everything"},
    "trainer.states": {
        "engine.compat.utilities.enums": "RunningStage TrainerFn TrainerState TrainerStatus"
    },
    "trainer.supporters": {
        "engine.runtime.data.combined": "CombinedLoader",
        "engine.compat.utilities.sharing": "TensorRunningAccum",
    },
    "trainer.trainer": {"engine": "Trainer"},
    # for bug reports and examples
    "demos": {
        "engine.compat.demos.boring": "BoringDataModule BoringModel",
        "engine.compat.demos.text": "Transformer WikiText2",
    },
    "demos.mnist_datamodule": {"engine.compat.demos.vision": "MNIST MNISTDataModule"},
    "demos.transformer": {"engine.compat.demos.text": "Transformer WikiText2"},
    "demos.boring_classes": {
        "engine.compat.demos.boring": "BoringDataModule BoringModel DemoModel "
        "ManualOptimBoringModel "
        "RandomDataset RandomDictDataset RandomIterableDataset"
    },
    # what the engine does not do
    "lite": {"engine": "LightningLite"},
    "lite.lite": {"engine": "LightningLite"},
    "lite.wrappers": {
        "engine.compat.legacy.lite_parts": "_LiteDataLoader=LiteDataLoader _LiteModule=LiteModule "
        "_LiteOptimizer=LiteOptimizer"
    },
    "loops": {
        "engine.compat.shims.loops": "Loop",
        "engine.compat.shims.absent": "DataLoaderLoop EvaluationEpochLoop EvaluationLoop FitLoop "
        "ManualOptimization OptimizerLoop PredictionEpochLoop PredictionLoop TrainingBatchLoop "
        "TrainingEpochLoop",
    },
    "loops.base": {"engine.compat.shims.loops": "Loop"},
    "loops.batch": {"engine.compat.shims.absent": "ManualOptimization TrainingBatchLoop"},
    "loops.batch.training_batch_loop": {"engine.compat.shims.absent": "TrainingBatchLoop"},
    "loops.dataloader": {
        "engine.compat.shims.absent": "DataLoaderLoop EvaluationLoop PredictionLoop"
    },
    "loops.dataloader.evaluation_loop": {"engine.compat.shims.absent": "EvaluationLoop"},
    "loops.dataloader.prediction_loop": {"engine.compat.shims.absent": "PredictionLoop"},
    "loops.epoch": {
        "engine.compat.shims.absent": "EvaluationEpochLoop PredictionEpochLoop TrainingEpochLoop"
    },
    "loops.epoch.evaluation_epoch_loop": {"engine.compat.shims.absent": "EvaluationEpochLoop"},
    "loops.epoch.prediction_epoch_loop": {"engine.compat.shims.absent": "PredictionEpochLoop"},
    "loops.epoch.training_epoch_loop": {"engine.compat.shims.absent": "TrainingEpochLoop"},
    "loops.fit_loop": {"engine.compat.shims.absent": "FitLoop"},
    "loops.optimization": {"engine.compat.shims.absent": "ManualOptimization OptimizerLoop"},
    "loops.optimization.manual_loop": {
        "engine.compat.shims.absent": "ManualOptimization ManualResult"
    },
    "loops.optimization.optimizer_loop": {
        "engine.compat.shims.absent": "Closure ClosureResult OptimizerLoop"
    },
    "serve": {"engine.compat.shims.absent": "ServableModule ServableModuleValidator"},
    "cli": {
        "engine.compat.utilities.types": "ArgsType LRSchedulerCallable OptimizerCallable "
        "ReduceLROnPlateau",
        "engine.compat.commandline.cli": "LightningArgumentParser LightningCLI SaveConfigCallback",
        "engine.compat.commandline.registries": "instantiate_class",
    },
}

# The later package of the same makers, with the names of 2.x.
LIGHTNING: dict[str, str] = {
    **_OFFERED,
    "engine.compat.versions.about": "__version__=VERSION_2 cli_lightning_logo",
    "engine.compat.shims.absent": "Fabric",
}
