"""Training engine with the API that PyTorch Lightning users know."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import callbacks, loggers, metrics, profilers, tuner
    from engine.callbacks.base import Callback
    from engine.callbacks.base import Callback as LightningCallback
    from engine.compat.legacy.datamodule import LightningDataModule
    from engine.compat.legacy.lite import LightningLite
    from engine.compat.legacy.module import LightningModule
    from engine.compat.legacy.trainer import Trainer
    from engine.module.wrap import wrap
    from engine.runtime.distributed.world import rank_zero_info, rank_zero_only, rank_zero_warn
    from engine.runtime.errors import CheckpointError, MisconfigurationException
    from engine.runtime.seed import seed_everything

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
    "LightningDataModule": "engine.compat.legacy.datamodule:LightningDataModule",
    "LightningLite": "engine.compat.legacy.lite:LightningLite",
    "LightningModule": "engine.compat.legacy.module:LightningModule",
    "MisconfigurationException": "engine.runtime.errors:MisconfigurationException",
    "Trainer": "engine.compat.legacy.trainer:Trainer",
    "rank_zero_info": "engine.runtime.distributed.world:rank_zero_info",
    "rank_zero_only": "engine.runtime.distributed.world:rank_zero_only",
    "rank_zero_warn": "engine.runtime.distributed.world:rank_zero_warn",
    "seed_everything": "engine.runtime.seed:seed_everything",
    "wrap": "engine.module.wrap:wrap",
}
# The public classes take the names and forms of Lightning 1.x, too. Where engine/compat is deleted
# they are what those are derived from.
_WITHOUT_COMPAT = {
    "LightningDataModule": "engine.module.datamodule:LightningDataModule",
    "LightningModule": "engine.module.module:LightningModule",
    "Trainer": "engine.trainer.trainer:Trainer",
}


def __getattr__(name: str) -> Any:
    if name in ("callbacks", "loggers", "metrics", "profilers", "tuner"):
        return importlib.import_module(f"engine.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = _imported(name)
    return value


def _imported(name: str) -> Any:
    module, attribute = _WHERE[name].split(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != "engine.compat" or name not in _WITHOUT_COMPAT:
            raise
    module, attribute = _WITHOUT_COMPAT[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
