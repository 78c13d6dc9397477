"""Who says which rank this process is: objects for `Trainer(plugins=[...])`, as in Lightning.

Nobody needs one: the launched world is found by itself. `LightningEnvironment()` says that SLURM's
variables do not count; an own subclass of `ClusterEnvironment` says it all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from engine.distributed import World, read_world
from engine.slurm_world import torchrun_variables


class ClusterEnvironment:
    """The place of this process in the job; an own one overrides these."""

    @property
    def creates_processes_externally(self) -> bool:
        """Whether something else started all processes; if not, the Trainer starts them."""
        return True

    def creates_children(self) -> bool:
        """The same, as 1.x called it."""
        return self.creates_processes_externally

    @property
    def main_address(self) -> str:
        """The address of rank zero."""
        return self._variables().get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """The port that ranks meet at."""
        return int(self._variables().get("MASTER_PORT", "29500"))

    def master_address(self) -> str:
        """The address of rank zero, as 1.x called it."""
        return self.main_address

    def master_port(self) -> int:
        """The port that ranks meet at, as 1.x called it."""
        return self.main_port

    def world_size(self) -> int:
        """Number of processes of the job."""
        return self.read_world().world_size

    def global_rank(self) -> int:
        """The rank of this process."""
        return self.read_world().rank

    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self.read_world().local_rank

    def node_rank(self) -> int:
        """The index of this node."""
        return self.read_world().node_rank

    def set_world_size(self, size: int) -> None:
        """The launched world counts: there is nothing to set."""

    def set_global_rank(self, rank: int) -> None:
        """The launched world counts: there is nothing to set."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raise where the job does not fit the Trainer's numbers; an own one may."""

    def teardown(self) -> None:
        """Clean up; there is nothing to."""

    @classmethod
    def detect(cls) -> bool:
        """Whether this process runs in such an environment."""
        return False

    def _variables(self) -> Mapping[str, str]:
        return os.environ

    def read_world(self) -> World:
        """All of it, from the environment's variables."""
        return read_world(self._variables())


class LightningEnvironment(ClusterEnvironment):
    """A single machine: torchrun's variables count, SLURM's do not."""

    @property
    def creates_processes_externally(self) -> bool:
        """Whether torchrun's variables are there."""
        return "LOCAL_RANK" in os.environ

    def _variables(self) -> Mapping[str, str]:
        return {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}

    @classmethod
    def detect(cls) -> bool:
        """It is what is left when nothing else is found."""
        return True


class TorchElasticEnvironment(ClusterEnvironment):
    """torchrun, plaunch, and others that set torchrun's variables."""

    @classmethod
    def detect(cls) -> bool:
        """Whether torchrun's variables are there."""
        return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= set(os.environ)


class SLURMEnvironment(ClusterEnvironment):
    """A task that srun started; `plaunch` is what brings a preempted job back."""

    def __init__(
        self,
        auto_requeue: bool = True,
        requeue_signal: object = None,
        main_address: str | None = None,
    ) -> None:
        self.auto_requeue = auto_requeue
        self.requeue_signal = requeue_signal
        self._main_address = main_address

    @property
    def main_address(self) -> str:
        """The address of rank zero: the first node."""
        return self._main_address or super().main_address

    def _variables(self) -> Mapping[str, str]:
        return {**os.environ, **torchrun_variables(os.environ)}

    @classmethod
    def detect(cls) -> bool:
        """Whether srun started several of us."""
        return bool(torchrun_variables(os.environ))

    @staticmethod
    def job_name() -> str | None:
        """The name of the job."""
        return os.environ.get("SLURM_JOB_NAME")

    @staticmethod
    def job_id() -> int | None:
        """The id of the job."""
        text = os.environ.get("SLURM_JOB_ID", "")
        return int(text) if text.isdigit() else None
