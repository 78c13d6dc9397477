"""Strategies: where the model lives, how it is stepped, how ranks agree."""

from engine.strategies.base import SingleDevice, Strategy
from engine.strategies.declared.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from engine.strategies.declared.objects import (
    DataParallelPlugin,
    DataParallelStrategy,
    DDP2Plugin,
    DDP2Strategy,
    DDPFullyShardedPlugin,
    DDPFullyShardedStrategy,
    DDPPlugin,
    DDPShardedPlugin,
    DDPShardedStrategy,
    DDPSpawnPlugin,
    DDPSpawnStrategy,
    DDPStrategy,
    DeepSpeedPlugin,
    DeepSpeedStrategy,
    FSDPStrategy,
    SingleDevicePlugin,
    SingleDeviceStrategy,
)

__all__ = [
    "ClusterEnvironment",
    "DDP2Plugin",
    "DDP2Strategy",
    "DDPFullyShardedPlugin",
    "DDPFullyShardedStrategy",
    "DDPPlugin",
    "DDPShardedPlugin",
    "DDPShardedStrategy",
    "DDPSpawnPlugin",
    "DDPSpawnStrategy",
    "DDPStrategy",
    "DataParallelPlugin",
    "DataParallelStrategy",
    "DeepSpeedPlugin",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "LightningEnvironment",
    "SLURMEnvironment",
    "SingleDevice",
    "SingleDevicePlugin",
    "SingleDeviceStrategy",
    "Strategy",
    "TorchElasticEnvironment",
]
