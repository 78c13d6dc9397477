"""Training engine with the API that PyTorch Lightning users know."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import callbacks, loggers, metrics, profilers, tuner
    from engine.callbacks.base import Callback
    from engine.callbacks.base import Callback as LightningCallback
    from engine.compat.legacy.lite import LightningLite
    from engine.module.datamodule import LightningDataModule
    from engine.module.module import LightningModule
    from engine.module.wrap import wrap
    from engine.runtime.distributed.world import rank_zero_info, rank_zero_only, rank_zero_warn
    from engine.runtime.errors import CheckpointError, MisconfigurationException
    from engine.runtime.seed import seed_everything
    from engine.trainer.trainer import Trainer

__all__ = [
    "Callback",
    "CheckpointError",
    "LightningCallback",
    "LightningDataModule",
    "LightningLite",
    "LightningModule",
    "MisconfigurationException",
    "Trainer",
    "callbacks",
    "loggers",
    "metrics",
    "profilers",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
    "tuner",
    "wrap",
]

# Imported when first asked for: `import engine` costs next to nothing.
_WHERE = {
    "Callback": "engine.callbacks.base:Callback",
    "CheckpointError": "engine.runtime.errors:CheckpointError",
    "LightningCallback": "engine.callbacks.base:Callback",
    "LightningDataModule": "engine.module.datamodule:LightningDataModule",
    "LightningLite": "engine.compat.legacy.lite:LightningLite",
    "LightningModule": "engine.module.module:LightningModule",
    "MisconfigurationException": "engine.runtime.errors:MisconfigurationException",
    "Trainer": "engine.trainer.trainer:Trainer",
    "rank_zero_info": "engine.runtime.distributed.world:rank_zero_info",
    "rank_zero_only": "engine.runtime.distributed.world:rank_zero_only",
    "rank_zero_warn": "engine.runtime.distributed.world:rank_zero_warn",
    "seed_everything": "engine.runtime.seed:seed_everything",
    "wrap": "engine.module.wrap:wrap",
}


def __getattr__(name: str) -> Any:
    if name in ("callbacks", "loggers", "metrics", "profilers", "tuner"):
        return importlib.import_module(f"engine.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name].split(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
