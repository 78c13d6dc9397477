"""What programs take from `lightning.fabric` beside `lightning.pytorch`."""

from __future__ import annotations

_KEPT = "engine.compat.kept"

FABRIC: dict[str, dict[str, str]] = {
    "fabric": {f"{_KEPT}.absent": "Fabric", "engine": "seed_everything"},
    "fabric.fabric": {f"{_KEPT}.absent": "Fabric"},
    "fabric.utilities": {
        "engine": "rank_zero_info rank_zero_only rank_zero_warn",
        "engine.apply": "move_data_to_device",
    },
    "fabric.utilities.apply_func": {"engine.apply": "move_data_to_device"},
    "fabric.utilities.cloud_io": {f"{_KEPT}.files": "_load=load get_filesystem"},
    "fabric.utilities.rank_zero": {"engine": "rank_zero_info rank_zero_only rank_zero_warn"},
    "fabric.utilities.types": {
        f"{_KEPT}.types": "_DEVICE _PATH _TORCH_LRSCHEDULER=_LRScheduler ReduceOp"
    },
    "fabric.utilities.seed": {"engine.seed": "seed_everything"},
}
