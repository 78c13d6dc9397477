"""The packages themselves, and the modules that a program of any version begins with."""

from __future__ import annotations

_KEPT = "engine.compat.kept"

_OFFERED = {
    "engine": "Callback LightningDataModule LightningModule Trainer seed_everything",
}

TOP: dict[str, dict[str, str]] = {
    "": {
        **_OFFERED,
        f"{_KEPT}.about": "__version__=VERSION_1 _logger=logger cli_lightning_logo "
        "data_loader log=logger",
        f"{_KEPT}.absent": "EvalResult TrainResult",
    },
    "core.step_result": {f"{_KEPT}.absent": "EvalResult Result TrainResult"},
    "__about__": {f"{_KEPT}.about": "__version__=VERSION_1"},
    "__version__": {f"{_KEPT}.about": "version=VERSION_1"},
    # what a program is made of
    "core": {
        "engine": "LightningDataModule LightningModule",
        "engine.optimizers": "LightningOptimizer",
        "engine.apply": "auto_move_data",
    },
    "core.datamodule": {"engine": "LightningDataModule"},
    "core.decorators": {"engine.apply": "auto_move_data"},
    "core.grads": {f"{_KEPT}.mixins": "GradInformation"},
    "core.hooks": {f"{_KEPT}.mixins": "CheckpointHooks DataHooks ModelHooks"},
    "core.lightning": {"engine": "LightningModule", f"{_KEPT}.warned": "warning_cache"},
    "core.memory": {
        f"{_KEPT}.model_summary": "LayerSummary ModelSummary get_human_readable_count "
        "parse_batch_shape",
        f"{_KEPT}.tensors": "get_gpu_memory_map get_memory_profile",
    },
    "core.mixins": {
        f"{_KEPT}.mixins": "DeviceDtypeModuleMixin",
        "engine.hparams": "HyperparametersMixin=KeepsHyperparameters",
    },
    "core.mixins.device_dtype_mixin": {f"{_KEPT}.mixins": "DeviceDtypeModuleMixin"},
    "core.mixins.hparams_mixin": {"engine.hparams": "HyperparametersMixin=KeepsHyperparameters"},
    "core.module": {"engine": "LightningModule", f"{_KEPT}.warned": "warning_cache"},
    "core.optimizer": {"engine.optimizers": "LightningOptimizer"},
    "core.saving": {
        f"{_KEPT}.files": "ModelIO pl_load=load load_hparams_from_tags_csv load_hparams_from_yaml "
        "save_hparams_to_tags_csv save_hparams_to_yaml update_hparams"
    },
    "trainer": {"engine": "Trainer seed_everything"},
    "trainer.states": {f"{_KEPT}.enums": "RunningStage TrainerFn TrainerState TrainerStatus"},
    "trainer.supporters": {
        "engine.combined": "CombinedLoader",
        f"{_KEPT}.sharing": "TensorRunningAccum",
    },
    "trainer.trainer": {"engine": "Trainer"},
    # for bug reports and examples
    "demos": {
        f"{_KEPT}.boring": "BoringDataModule BoringModel",
        f"{_KEPT}.text": "Transformer WikiText2",
    },
    "demos.mnist_datamodule": {f"{_KEPT}.vision": "MNIST MNISTDataModule"},
    "demos.transformer": {f"{_KEPT}.text": "Transformer WikiText2"},
    "demos.boring_classes": {
        f"{_KEPT}.boring": "BoringDataModule BoringModel DemoModel ManualOptimBoringModel "
        "RandomDataset RandomDictDataset RandomIterableDataset"
    },
    # what the engine does not do
    "lite": {"engine": "LightningLite"},
    "lite.lite": {"engine": "LightningLite"},
    "lite.wrappers": {
        "engine.lite_parts": "_LiteDataLoader=LiteDataLoader _LiteModule=LiteModule "
        "_LiteOptimizer=LiteOptimizer"
    },
    "loops": {
        f"{_KEPT}.loops": "Loop",
        f"{_KEPT}.absent": "DataLoaderLoop EvaluationEpochLoop EvaluationLoop FitLoop "
        "ManualOptimization OptimizerLoop PredictionEpochLoop PredictionLoop TrainingBatchLoop "
        "TrainingEpochLoop",
    },
    "loops.base": {f"{_KEPT}.loops": "Loop"},
    "loops.batch": {f"{_KEPT}.absent": "ManualOptimization TrainingBatchLoop"},
    "loops.batch.training_batch_loop": {f"{_KEPT}.absent": "TrainingBatchLoop"},
    "loops.dataloader": {f"{_KEPT}.absent": "DataLoaderLoop EvaluationLoop PredictionLoop"},
    "loops.dataloader.evaluation_loop": {f"{_KEPT}.absent": "EvaluationLoop"},
    "loops.dataloader.prediction_loop": {f"{_KEPT}.absent": "PredictionLoop"},
    "loops.epoch": {f"{_KEPT}.absent": "EvaluationEpochLoop PredictionEpochLoop TrainingEpochLoop"},
    "loops.epoch.evaluation_epoch_loop": {f"{_KEPT}.absent": "EvaluationEpochLoop"},
    "loops.epoch.prediction_epoch_loop": {f"{_KEPT}.absent": "PredictionEpochLoop"},
    "loops.epoch.training_epoch_loop": {f"{_KEPT}.absent": "TrainingEpochLoop"},
    "loops.fit_loop": {f"{_KEPT}.absent": "FitLoop"},
    "loops.optimization": {f"{_KEPT}.absent": "ManualOptimization OptimizerLoop"},
    "loops.optimization.manual_loop": {f"{_KEPT}.absent": "ManualOptimization ManualResult"},
    "loops.optimization.optimizer_loop": {f"{_KEPT}.absent": "Closure ClosureResult OptimizerLoop"},
    "serve": {f"{_KEPT}.absent": "ServableModule ServableModuleValidator"},
    "cli": {
        f"{_KEPT}.types": "ArgsType LRSchedulerCallable OptimizerCallable ReduceLROnPlateau",
        f"{_KEPT}.cli": "LightningArgumentParser LightningCLI SaveConfigCallback",
        f"{_KEPT}.registries": "instantiate_class",
    },
}

# The later package of the same makers, with the names of 2.x.
LIGHTNING: dict[str, str] = {
    **_OFFERED,
    f"{_KEPT}.about": "__version__=VERSION_2 cli_lightning_logo",
    f"{_KEPT}.absent": "Fabric",
}
