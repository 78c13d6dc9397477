"""Training engine with the API that PyTorch Lightning users know."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import callbacks, loggers, metrics, profilers, tuner
    from engine.callbacks.base import Callback
    from engine.callbacks.base import Callback as LightningCallback
    from engine.datamodule import LightningDataModule
    from engine.distributed import rank_zero_info, rank_zero_only, rank_zero_warn
    from engine.errors import CheckpointError, MisconfigurationException
    from engine.lite import LightningLite
    from engine.module import LightningModule
    from engine.seed import seed_everything
    from engine.trainer import Trainer
    from engine.wrapped import wrap

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
    "CheckpointError": "engine.errors:CheckpointError",
    "LightningCallback": "engine.callbacks.base:Callback",
    "LightningDataModule": "engine.datamodule:LightningDataModule",
    "LightningLite": "engine.lite:LightningLite",
    "LightningModule": "engine.module:LightningModule",
    "MisconfigurationException": "engine.errors:MisconfigurationException",
    "Trainer": "engine.trainer:Trainer",
    "rank_zero_info": "engine.distributed:rank_zero_info",
    "rank_zero_only": "engine.distributed:rank_zero_only",
    "rank_zero_warn": "engine.distributed:rank_zero_warn",
    "seed_everything": "engine.seed:seed_everything",
    "wrap": "engine.wrapped:wrap",
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
