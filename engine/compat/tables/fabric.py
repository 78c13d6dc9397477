"""What programs take from `lightning.fabric` beside `lightning.pytorch`: much of it is the same."""

from __future__ import annotations

from engine.compat.tables.parts import PARTS
from engine.compat.tables.tools import TOOLS

_ABSENT = "engine.compat.shims.absent"

_SAME = (
    *("accelerators", "loggers", "loggers.logger", "plugins", "plugins.environments", "plugins.io"),
    *("plugins.precision", "strategies", "strategies.ddp", "strategies.fsdp"),
)
_SAME_TOOLS = (
    *("data", "distributed", "enums", "exceptions", "imports", "logger", "rank_zero", "seed"),
    *("types", "warnings"),
)

_TENSORS = "engine.compat.utilities.tensors"

FABRIC: dict[str, dict[str, str]] = {
    **{f"fabric.{name}": PARTS[name] for name in _SAME if name in PARTS},
    **{f"fabric.utilities.{name}": TOOLS[f"utilities.{name}"] for name in _SAME_TOOLS},
    "fabric": {_ABSENT: "Fabric is_shared_filesystem", "engine": "seed_everything"},
    "fabric.fabric": {_ABSENT: "Fabric"},
    "fabric.utilities": {
        "engine": "rank_zero_info rank_zero_only rank_zero_warn",
        "engine.runtime.data.apply": "move_data_to_device",
        "engine.module.hyperparameters.hparams": "AttributeDict",
        "engine.compat.utilities.data": "suggested_max_num_workers",
        _ABSENT: "is_shared_filesystem measure_flops",
    },
    "fabric.utilities.apply_func": {"engine.runtime.data.apply": "move_data_to_device"},
    "fabric.utilities.cloud_io": {"engine.compat.utilities.files": "_load=load get_filesystem"},
    "fabric.utilities.data": {
        **TOOLS["utilities.data"],
        "engine.module.hyperparameters.hparams": "AttributeDict",
    },
    "fabric.utilities.device_dtype_mixin": {
        "engine.compat.utilities.mixins": "_DeviceDtypeModuleMixin=DeviceDtypeModuleMixin"
    },
    "fabric.utilities.distributed": {
        **TOOLS["utilities.distributed"],
        _TENSORS: "_all_gather_ddp_if_available=all_gather_ddp_if_available "
        "_distributed_is_initialized=distributed_available gather_all_tensors "
        "_gather_all_tensors=gather_all_tensors _sync_ddp_if_available=sync_ddp",
    },
    "fabric.utilities.throughput": {_ABSENT: "ThroughputMonitor measure_flops"},
    "fabric.wrappers": {_ABSENT: "_FabricModule _FabricOptimizer is_wrapped"},
}
