"""Lightning's `utilities`: many small things that programs take one by one."""

from __future__ import annotations

_KEPT = "engine.compat.kept"
_ABSENT = f"{_KEPT}.absent"
_WARNED = f"{_KEPT}.warned"

_RANK_ZERO = {
    "engine": "rank_zero_info rank_zero_only rank_zero_warn",
    f"{_KEPT}.warned": "LightningDeprecationWarning WarningCache rank_zero_debug "
    "rank_zero_deprecation",
}
_MAPPING = {
    "engine.apply": "apply_to_collection move_data_to_device",
    f"{_KEPT}.tensors": "apply_to_collections convert_to_tensors from_numpy",
}
_ENUMS = {
    f"{_KEPT}.enums": "AMPType DeviceType DistributedType GradClipAlgorithmType "
    "LightningEnum ModelSummaryMode PrecisionType _AcceleratorType=DeviceType "
    "_StrategyType=DistributedType"
}
_PARSING = {
    "engine.hparams": "AttributeDict",
    f"{_KEPT}.parsing": "clean_namespace collect_init_args flatten_dict get_init_args "
    "is_picklable lightning_getattr lightning_hasattr lightning_setattr parse_class_init_keys "
    "str_to_bool str_to_bool_or_int str_to_bool_or_str",
}
_MEMORY = {
    f"{_KEPT}.tensors": "garbage_collection_cuda get_gpu_memory_map get_memory_profile "
    "get_model_size_mb is_cuda_out_of_memory is_cudnn_snafu is_oom_error "
    "is_out_of_cpu_memory=is_oom_error recursive_detach"
}
_MODEL_SUMMARY = {
    f"{_KEPT}.model_summary": "LayerSummary ModelSummary get_formatted_model_size "
    "get_human_readable_count parse_batch_shape summarize"
}
_CLI = {
    f"{_KEPT}.cli": "LightningArgumentParser LightningCLI SaveConfigCallback",
    f"{_KEPT}.registries": "CALLBACK_REGISTRY DATAMODULE_REGISTRY LOGGER_REGISTRY "
    "LR_SCHEDULER_REGISTRY MODEL_REGISTRY OPTIMIZER_REGISTRY instantiate_class",
}
_DISTRIBUTED = {
    **_RANK_ZERO,
    f"{_KEPT}.tensors": "all_gather_ddp_if_available distributed_available gather_all_tensors "
    "AllGatherGrad _get_rank group sync_ddp sync_ddp_if_available tpu_distributed",
    f"{_KEPT}.about": "log=logger",
    _ABSENT: "register_ddp_comm_hook",
    f"{_KEPT}.types": "ReduceOp",
}
_AVAILABLE = {f"{_KEPT}.available": "*"}

TOOLS: dict[str, dict[str, str]] = {
    "utilities": {
        **_RANK_ZERO,
        **_MAPPING,
        **_ENUMS,
        **_AVAILABLE,
        "engine.hparams": "AttributeDict",
        "engine.errors": "MisconfigurationException",
        "engine.combined": "CombinedLoader",
        "engine.gradients": "grad_norm",
        f"{_KEPT}.parsing": "flatten_dict is_picklable",
        f"{_KEPT}.tensors": "AllGatherGrad",
        f"{_KEPT}.sharing": "find_shared_parameters set_shared_parameters",
        f"{_KEPT}.warned": f"{_RANK_ZERO[_WARNED]} disable_possible_user_warnings",
        f"{_KEPT}.numbers": "FLOAT16_EPSILON FLOAT32_EPSILON FLOAT64_EPSILON",
    },
    "utilities.apply_func": {
        **_MAPPING,
        f"{_KEPT}.mixins": "TransferableDataType",
    },
    "utilities.argparse": {
        f"{_KEPT}.arguments": "add_argparse_args from_argparse_args "
        "get_init_arguments_and_types parse_argparser parse_env_variables"
    },
    "utilities.argparse_utils": {
        f"{_KEPT}.arguments": "add_argparse_args from_argparse_args "
        "get_init_arguments_and_types parse_argparser parse_env_variables"
    },
    "utilities.cli": _CLI,
    "utilities.cloud_io": {f"{_KEPT}.files": "atomic_save get_filesystem load"},
    "utilities.combined_loader": {"engine.combined": "CombinedLoader"},
    "utilities.data": {
        "torch.utils.data": "DataLoader",
        f"{_KEPT}.data": "extract_batch_size get_len has_iterable_dataset has_len "
        "has_len_all_ranks "
        "suggested_max_num_workers",
    },
    "utilities.deepspeed": {_ABSENT: "convert_zero_checkpoint_to_fp32_state_dict"},
    "utilities.device_dtype_mixin": {f"{_KEPT}.mixins": "DeviceDtypeModuleMixin"},
    "utilities.device_parser": {
        f"{_KEPT}.accelerators": "determine_root_gpu_device num_cuda_devices parse_cpu_cores "
        "parse_gpu_ids"
    },
    "utilities.distributed": _DISTRIBUTED,
    "utilities.enums": _ENUMS,
    "utilities.exceptions": {
        "engine.errors": "MisconfigurationException",
        f"{_KEPT}.warned": "DeadlockDetectedException ExitGracefullyException SIGTERMException",
    },
    "utilities.finite_checks": {f"{_KEPT}.tensors": "detect_nan_parameters print_nan_gradients"},
    "utilities.grads": {"engine.gradients": "grad_norm"},
    "utilities.imports": _AVAILABLE,
    "utilities.logger": {
        f"{_KEPT}.records": "_add_prefix _convert_params _flatten_dict _sanitize_params"
    },
    "utilities.memory": _MEMORY,
    "utilities.metrics": {f"{_KEPT}.tensors": "metrics_to_scalars"},
    "utilities.migration": {
        f"{_KEPT}.files": "pl_legacy_patch",
        _ABSENT: "migrate_checkpoint",
    },
    "utilities.model_helpers": {
        f"{_KEPT}.parsing": "is_overridden",
        f"{_KEPT}.vision": "get_torchvision_model",
    },
    "utilities.model_summary": _MODEL_SUMMARY,
    "utilities.model_summary.model_summary": _MODEL_SUMMARY,
    "utilities.parsing": _PARSING,
    "utilities.rank_zero": _RANK_ZERO,
    "utilities.seed": {
        "engine.seed": "isolate_rng reset_seed seed_everything",
        f"{_KEPT}.tensors": "pl_worker_init_function",
    },
    "utilities.signature_utils": {f"{_KEPT}.parsing": "is_param_in_hook_signature"},
    "utilities.types": {
        f"{_KEPT}.types": "EPOCH_OUTPUT EVAL_DATALOADERS LRSchedulerConfig "
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
        f"{_KEPT}.warned": "LightningDeprecationWarning PossibleUserWarning WarningCache "
        "rank_zero_deprecation",
    },
    "utilities.xla_device": {_ABSENT: "XLADeviceUtils"},
}
