"""Words that old programs compare with: of what runs, and of how it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LightningEnum(str, Enum):
    """Equal to its value as text, in capitals or not."""

    @classmethod
    def from_str(cls, value: str) -> LightningEnum | None:
        """The member with this value; None without one."""
        wanted = value.lower()
        return next((one for one in cls if one.value.lower() == wanted), None)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Enum):
            other = other.value
        return isinstance(other, str) and self.value.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.value.lower())


class ModelSummaryMode(LightningEnum):
    """How much of a model its table shows."""

    TOP = "top"
    FULL = "full"


class RunningStage(LightningEnum):
    """Which loop runs."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"
    TUNING = "tune"

    @property
    def evaluating(self) -> bool:
        """Whether this is a loop without gradients that has metrics."""
        return self in (RunningStage.VALIDATING, RunningStage.TESTING)

    @property
    def dataloader_prefix(self) -> str | None:
        """What the names of this stage's loaders begin with."""
        if self in (RunningStage.VALIDATING, RunningStage.SANITY_CHECKING):
            return "val"
        return None if self is RunningStage.TUNING else str(self.value)


class TrainerFn(LightningEnum):
    """Which verb of the trainer was called."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"
    TUNING = "tune"


class TrainerStatus(LightningEnum):
    """How far it has come."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass
class TrainerState:
    """A state of one's own; that of a trainer is `trainer.state`."""

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None


class AMPType(LightningEnum):
    """Who computes in 16 bits."""

    APEX = "apex"
    NATIVE = "native"


class PrecisionType(LightningEnum):
    """What steps compute in."""

    HALF = "16"
    FLOAT = "32"
    FULL = "64"
    BFLOAT = "bf16"
    MIXED = "mixed"


class GradClipAlgorithmType(LightningEnum):
    """How gradients are clipped."""

    VALUE = "value"
    NORM = "norm"


class DistributedType(LightningEnum):
    """How ranks work together."""

    DP = "dp"
    DDP = "ddp"
    DDP2 = "ddp2"
    DDP_CPU = "ddp_cpu"
    DDP_SPAWN = "ddp_spawn"
    DEEPSPEED = "deepspeed"
    HOROVOD = "horovod"
    DDP_SHARDED = "ddp_sharded"
    DDP_SHARDED_SPAWN = "ddp_sharded_spawn"
    DDP_FULLY_SHARDED = "ddp_fully_sharded"


class DeviceType(LightningEnum):
    """What a rank computes on."""

    CPU = "CPU"
    GPU = "GPU"
    IPU = "IPU"
    TPU = "TPU"


class Interval(LightningEnum):
    """When a timer looks at the time; 1.x wrote the names small."""

    STEP = step = "step"
    EPOCH = epoch = "epoch"


class WriteInterval(LightningEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether after each batch."""
        return self in (WriteInterval.BATCH, WriteInterval.BATCH_AND_EPOCH)

    @property
    def on_epoch(self) -> bool:
        """Whether at the end."""
        return self in (WriteInterval.EPOCH, WriteInterval.BATCH_AND_EPOCH)
