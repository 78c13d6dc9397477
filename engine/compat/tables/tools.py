"""Lightning's `utilities`: many small things that programs take one by one."""

from __future__ import annotations

_ABSENT = "engine.compat.shims.absent"
_WARNED = "engine.compat.versions.warned"

_RANK_ZERO = {
    "engine": "rank_zero_info rank_zero_only rank_zero_warn",
    "engine.compat.versions.warned": "LightningDeprecationWarning WarningCache rank_zero_debug "
    "rank_zero_deprecation",
}
_MAPPING = {
    "engine.runtime.data.apply": "apply_to_collection move_data_to_device",
    "engine.compat.utilities.tensors": "apply_to_collections convert_to_tensors from_numpy",
}
_ENUMS = {
    "engine.compat.utilities.enums": "AMPType DeviceType DistributedType GradClipAlgorithmType "
    "LightningEnum ModelSummaryMode PrecisionType _AcceleratorType=DeviceType "
    "_StrategyType=DistributedType"
}
_PARSING = {
    "engine.module.hyperparameters.hparams": "AttributeDict",
    "engine.compat.commandline.parsing": "clean_namespace collect_init_args flatten_dict "
    "get_init_args "
    "is_picklable lightning_getattr lightning_hasattr lightning_setattr parse_class_init_keys "
    "str_to_bool str_to_bool_or_int str_to_bool_or_str",
}
_MEMORY = {
    "engine.compat.utilities.tensors": "garbage_collection_cuda get_gpu_memory_map "
    "get_memory_profile "
    "get_model_size_mb is_cuda_out_of_memory is_cudnn_snafu is_oom_error "
    "is_out_of_cpu_memory=is_oom_error recursive_detach"
}
_MODEL_SUMMARY = {
    "engine.compat.shims.model_summary": "LayerSummary ModelSummary get_formatted_model_size "
    "get_human_readable_count parse_batch_shape summarize"
}
_CLI = {
    "engine.compat.commandline.cli": "LightningArgumentParser LightningCLI SaveConfigCallback",
    "engine.compat.commandline.registries": "CALLBACK_REGISTRY DATAMODULE_REGISTRY LOGGER_REGISTRY "
    "LR_SCHEDULER_REGISTRY MODEL_REGISTRY OPTIMIZER_REGISTRY instantiate_class",
}
_DISTRIBUTED = {
    **_RANK_ZERO,
    "engine.compat.utilities.tensors": "all_gather_ddp_if_available distributed_available "
    "gather_all_tensors "
    "AllGatherGrad _get_rank group sync_ddp sync_ddp_if_available tpu_distributed",
    "engine.compat.versions.about": "log=logger",
    _ABSENT: "register_ddp_comm_hook",
    "engine.compat.utilities.types": "ReduceOp",
}
_AVAILABLE = {"engine.compat.versions.available": "*"}

TOOLS: dict[str, dict[str, str]] = {
    "utilities": {
        **_RANK_ZERO,
        **_MAPPING,
        **_ENUMS,
        **_AVAILABLE,
        "engine.module.hyperparameters.hparams": "AttributeDict",
        "engine.runtime.errors": "MisconfigurationException",
        "engine.runtime.data.combined": "CombinedLoader",
        "engine.callbacks.monitors.gradients": "grad_norm",
        "engine.compat.commandline.parsing": "flatten_dict is_picklable",
        "engine.compat.utilities.tensors": "AllGatherGrad",
        "engine.compat.utilities.sharing": "find_shared_parameters set_shared_parameters",
        "engine.compat.versions.warned": f"{_RANK_ZERO[_WARNED]} disable_possible_user_warnings",
        "engine.compat.versions.numbers": "FLOAT16_EPSILON FLOAT32_EPSILON FLOAT64_EPSILON",
    },
    "utilities.apply_func": {
        **_MAPPING,
        "engine.compat.utilities.mixins": "TransferableDataType",
    },
    "utilities.argparse": {
        "engine.compat.commandline.arguments": "add_argparse_args from_argparse_args "
        "get_init_arguments_and_types parse_argparser parse_env_variables"
    },
    "utilities.argparse_utils": {
        "engine.compat.commandline.arguments": "add_argparse_args from_argparse_args "
        "get_init_arguments_and_types parse_argparser parse_env_variables"
    },
    "utilities.cli": _CLI,
    "utilities.cloud_io": {"engine.compat.utilities.files": "atomic_save get_filesystem load"},
    "utilities.combined_loader": {"engine.runtime.data.combined": "CombinedLoader"},
    "utilities.data": {
        "torch.utils.data": "DataLoader",
        "engine.compat.utilities.data": "extract_batch_size get_len has_iterable_dataset has_len "
        "has_len_all_ranks "
        "suggested_max_num_workers",
    },
    "utilities.deepspeed": {_ABSENT: "convert_zero_checkpoint_to_fp32_state_dict"},
    "utilities.device_dtype_mixin": {"engine.compat.utilities.mixins": "DeviceDtypeModuleMixin"},
    "utilities.device_parser": {
        "engine.compat.shims.accelerators": "determine_root_gpu_device num_cuda_devices "
        "parse_cpu_cores "
        "parse_gpu_ids"
    },
    "utilities.distributed": _DISTRIBUTED,
    "utilities.enums": _ENUMS,
    "utilities.exceptions": {
        "engine.runtime.errors": "MisconfigurationException",
        "engine.compat.versions.warned": "DeadlockDetectedException ExitGracefullyException "
        "SIGTERMException",
    },
    "utilities.finite_checks": {
        "engine.compat.utilities.tensors": "detect_nan_parameters print_nan_gradients"
    },
    "utilities.grads": {"engine.callbacks.monitors.gradients": "grad_norm"},
    "utilities.imports": _AVAILABLE,
    "utilities.logger": {
        "engine.compat.utilities.records": "_add_prefix _convert_params _flatten_dict "
        "_sanitize_params"
    },
    "utilities.memory": _MEMORY,
    "utilities.metrics": {"engine.compat.utilities.tensors": "metrics_to_scalars"},
    "utilities.migration": {
        "engine.compat.utilities.files": "pl_legacy_patch",
        _ABSENT: "migrate_checkpoint",
    },
    "utilities.model_helpers": {
        "engine.compat.commandline.parsing": "is_overridden",
        "engine.compat.demos.vision": "get_torchvision_model",
    },
    "utilities.model_summary": _MODEL_SUMMARY,
    "utilities.model_summary.model_summary": _MODEL_SUMMARY,
    "utilities.parsing": _PARSING,
    "utilities.rank_zero": _RANK_ZERO,
    "utilities.seed": {
        "engine.runtime.seed": "isolate_rng reset_seed seed_everything",
        "engine.compat.utilities.tensors": "pl_worker_init_function",
    },
    "utilities.signature_utils": {
        "engine.compat.commandline.parsing": "is_param_in_hook_signature"
    },
    "utilities.types": {
        "engine.compat.utilities.types": "EPOCH_OUTPUT EVAL_DATALOADERS LRSchedulerConfig "
        "LRSchedulerConfigType LRSchedulerPLType LRSchedulerType LRSchedulerTypeTuple "
        "LRSchedulerTypeUnion OptimizerConfig OptimizerLRScheduler OptimizerLRSchedulerConfig "
        "LRScheduler=_LRScheduler _TORCH_LRSCHEDULER=_LRScheduler "
        "ReduceOp STEP_OUTPUT TRAIN_DATALOADERS _DEVICE _DictKey _EVALUATE_OUTPUT "
        "_LRScheduler _METRIC _METRIC_COLLECTION _NUMBER _PARAMETERS _PATH _PREDICT_OUTPUT "
        "DistributedDataParallel ReduceLROnPlateau"
    },
    "utilities.upgrade_checkpoint": {_ABSENT: "upgrade_checkpoint"},
    "utilities.warnings": {
        **_RANK_ZERO,
        "engine.compat.versions.warned": "LightningDeprecationWarning PossibleUserWarning "
        "WarningCache "
        "rank_zero_deprecation",
    },
    "utilities.xla_device": {_ABSENT: "XLADeviceUtils"},
}
