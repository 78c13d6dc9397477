"""What a user may say in place of a strategy's name: small objects that only hold what was asked.

`Trainer(strategy=DDPStrategy(find_unused_parameters=False))`, and the plugins of 1.2 to 1.5:
`Trainer(plugins=DDPPlugin(find_unused_parameters=False))`.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import torch

from engine.runtime.errors import MisconfigurationException

# What DistributedDataParallel takes, and a user may want to change.
DDP_OPTIONS = (
    "broadcast_buffers",
    "bucket_cap_mb",
    "find_unused_parameters",
    "gradient_as_bucket_view",
    "static_graph",
)


class _Strategies(type):
    """What runs is an instance of what asks for it: `isinstance(trainer.strategy, DDPStrategy)`."""

    word: str

    def __instancecheck__(cls, instance: object) -> bool:
        asks = super().__instancecheck__(instance)
        return asks or (getattr(instance, "runs_as", None) == cls.word)


class DDPStrategy(metaclass=_Strategies):
    """Data parallel training, with options of DistributedDataParallel.

    Args:
        accelerator: as the Trainer's argument. By default None: the Trainer's.
        parallel_devices: torch devices, in place of the Trainer's `devices`. By default None.
        cluster_environment: an object that knows ranks and addresses. By default None: they are
            read from the environment variables of the launcher.
        process_group_backend: such as `"nccl"` or `"gloo"`. By default None: what fits the device.
        sync_batchnorm: whether batch norm layers use the statistics of all ranks in a fit. By
            default None: what the Trainer says.
        num_nodes: as the Trainer's argument. By default None: the Trainer's.
        options: arguments of DistributedDataParallel (`bucket_cap_mb`, `find_unused_parameters`,
            `gradient_as_bucket_view`, `static_graph`, `broadcast_buffers`), a hook for its
            communication (`ddp_comm_hook`, `ddp_comm_state`), and `start_method`.

    Raises:
        TypeError: there is no such option.

    Example:
        Skip the search for unused parameters, and view gradients in DDP's buckets::

            strategy = DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)
            Trainer(devices=2, strategy=strategy)
    """

    word: ClassVar[str] = "ddp"
    known: ClassVar[tuple[str, ...]] = (
        *(*DDP_OPTIONS, "ddp_comm_hook", "ddp_comm_state"),
        "start_method",  # of ranks in a notebook or the like: fork, spawn or forkserver
    )

    def __init__(
        self,
        accelerator: Any = None,
        parallel_devices: Any = None,
        cluster_environment: Any = None,
        process_group_backend: str | None = None,
        sync_batchnorm: bool | None = None,
        num_nodes: int | None = None,
        **options: Any,
    ) -> None:
        unknown = [name for name in options if name not in self.known]
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no option {unknown[0]!r}; there are "
                f"{', '.join(sorted(self.known)) or 'none'}"
            )
        self.cluster_environment = cluster_environment
        self.process_group_backend = process_group_backend
        self.sync_batchnorm = bool(sync_batchnorm)
        self.options = options
        # What a Trainer takes from here, as if it had been given it.
        self.asked = {**_devices(parallel_devices), **_said(accelerator, num_nodes)}


class DDPSpawnStrategy(DDPStrategy):
    """As DDP; the script is what the other processes run."""

    word = "ddp_spawn"


class DataParallelStrategy(DDPStrategy):
    """One process for several GPUs in Lightning; DDP here."""

    word = "dp"
    known = ()


class DDP2Strategy(DDPStrategy):
    """One process a node in Lightning; DDP here."""

    word = "ddp2"
    known = ()


class SingleDeviceStrategy(DDPStrategy):
    """One process on one device."""

    word = "single_device"
    known = ()

    def __init__(self, device: Any = "cpu", **options: Any) -> None:
        super().__init__(**options)
        self.options["device"] = device


class FSDPStrategy(DDPStrategy):
    """Parameters, gradients and the optimizer's state divided among the ranks."""

    word = "fsdp"
    known = ("cpu_offload", "reshard_after_forward")


class DDPShardedStrategy(FSDPStrategy):
    """FairScale's, in Lightning; FSDP here."""

    word = "ddp_sharded"


class DDPFullyShardedStrategy(FSDPStrategy):
    """FairScale's, in Lightning; FSDP here."""

    word = "ddp_fully_sharded"


class DeepSpeedStrategy:
    """Not here: says what is."""

    def __init__(self, *_: object, **__: object) -> NoReturn:
        raise MisconfigurationException(
            f"{type(self).__name__} is not supported: strategy='fsdp' divides parameters, "
            "gradients and optimizer states among the ranks, as its stage 3 does"
        )


# The names of 1.2 to 1.5.
DDPPlugin = DDPStrategy
DDPSpawnPlugin = DDPSpawnStrategy
DDP2Plugin = DDP2Strategy
DataParallelPlugin = DataParallelStrategy
SingleDevicePlugin = SingleDeviceStrategy
DDPShardedPlugin = DDPShardedStrategy
DDPFullyShardedPlugin = DDPFullyShardedStrategy
DeepSpeedPlugin = DeepSpeedStrategy


def _said(accelerator: Any, num_nodes: int | None) -> dict[str, Any]:
    given = {"accelerator": getattr(accelerator, "kind", accelerator), "num_nodes": num_nodes}
    return {name: value for name, value in given.items() if value not in (None, "auto")}


def _devices(parallel_devices: Any) -> dict[str, Any]:
    """The Trainer's words for a list of torch devices."""
    devices = [torch.device(one) for one in parallel_devices or ()]
    if not devices:
        return {}
    if any(one.type == "cpu" for one in devices):
        return {"accelerator": "cpu", "devices": len(devices)}
    return {"accelerator": "gpu", "devices": [one.index or 0 for one in devices]}
