"""Who says which rank this process is: objects for `Trainer(plugins=[...])`, as in Lightning.

Nobody needs one: the launched world is found by itself. `LightningEnvironment()` says that SLURM's
variables do not count; an own subclass of `ClusterEnvironment` says it all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from engine.runtime.distributed.slurm_env import first_host, torchrun_variables
from engine.runtime.distributed.world import World, read_world

FIRST_PORT, NO_JOB_PORT = 15000, 12910  # of a job of SLURM's: the first and its last four digits


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

    _size: int | None = None
    _rank: int | None = None
    _port: int | None = None

    @property
    def main_port(self) -> int:
        """The port that ranks meet at; where nobody says one, one that was free when asked."""
        if self._port is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._port = probe.getsockname()[1]
        return _number(os.environ, self._port, "MASTER_PORT")

    def world_size(self) -> int:
        """Number of processes: as it was set, else as a launcher says."""
        return super().world_size() if self._size is None else self._size

    def global_rank(self) -> int:
        """The rank of this process: as it was set, else as a launcher says."""
        return super().global_rank() if self._rank is None else self._rank

    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return _number(os.environ, 0, "LOCAL_RANK")

    def node_rank(self) -> int:
        """The index of this node."""
        return _number(os.environ, 0, "NODE_RANK", "GROUP_RANK")

    def set_world_size(self, size: int) -> None:
        """What `world_size` answers from now on; the launched world counts all the same."""
        self._size = size

    def set_global_rank(self, rank: int) -> None:
        """What `global_rank` answers from now on; the launched world counts all the same."""
        self._rank = rank

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

    @property
    def main_port(self) -> int:
        """The port that ranks meet at."""
        return _number(os.environ, NO_JOB_PORT, "MASTER_PORT")

    def world_size(self) -> int:
        """Number of processes of the job."""
        return _number(os.environ, 1, "WORLD_SIZE")

    def global_rank(self) -> int:
        """The rank of this process."""
        return _number(os.environ, 0, "RANK")

    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return _number(os.environ, 0, "LOCAL_RANK")

    def node_rank(self) -> int:
        """The index of this node."""
        return _number(os.environ, 0, "GROUP_RANK")

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
        if self._main_address or self._is_step():
            return self._main_address or super().main_address
        nodes = os.environ.get("SLURM_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "")
        first = nodes.replace(",", " ").split(" ")[0] if "[" not in nodes else first_host(nodes)
        return first or super().main_address

    @property
    def main_port(self) -> int:
        """The port that ranks meet at: `MASTER_PORT`, or one that follows from the job."""
        if self._is_step() or "MASTER_PORT" in os.environ:
            return super().main_port
        job = self.job_id()
        return NO_JOB_PORT if job is None else FIRST_PORT + job % 10_000

    def world_size(self) -> int:
        """Number of processes: of srun's step, else of the job's tasks."""
        return super().world_size() if self._is_step() else self._ask("SLURM_NTASKS", 1)

    def global_rank(self) -> int:
        """The rank of this process."""
        return super().global_rank() if self._is_step() else self._ask("SLURM_PROCID", 0)

    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return super().local_rank() if self._is_step() else self._ask("SLURM_LOCALID", 0)

    def node_rank(self) -> int:
        """The index of this node."""
        return super().node_rank() if self._is_step() else self._ask("SLURM_NODEID", 0)

    def _is_step(self) -> bool:
        """Whether srun, or a launcher within it, started this process as one of several."""
        return "RANK" in self._variables()

    def _ask(self, name: str, default: int) -> int:
        return _number(os.environ, default, name)

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


def _number(env: Mapping[str, str], default: int, *names: str) -> int:
    """The number in the first variable that is set."""
    return next((int(env[name]) for name in names if env.get(name)), default)


# Their answers are of the variables; who is launched, and how many, `read_world` knows better.
OWN = (LightningEnvironment, TorchElasticEnvironment, SLURMEnvironment)
