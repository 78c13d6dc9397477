"""GPUs of a node, as data: what the driver said, and which of them are free."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from launcher.agent.node.gpu_probe import probe_node

# A GPU with more memory in use than this isn't free, even if no process is seen (one of another
# container is not). The driver's own reserve isn't counted; the smallest CUDA context takes more.
FREE_MEMORY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance, as the driver saw it.

    ``index`` is what a number in ``--gpus`` means: the place among the GPUs that an outer
    CUDA_VISIBLE_DEVICES leaves, as in CUDA; ``machine_index`` is NVML's. Memory in bytes.
    ``processes`` are pairs of pid and user. ``leased`` says by which run, ``parent`` is the UUID of
    a MIG instance's GPU. ``usable`` is False where no program could use it, ``problem`` is why.
    """

    index: int
    uuid: str
    name: str = ""
    memory_total: int = 0
    memory_used: int = 0
    processes: tuple[tuple[int, str], ...] = ()
    exclusive: bool = False
    leased: str = ""
    parent: str = ""
    mig_name: str = ""
    usable: bool = True
    problem: str = ""
    machine_index: int = 0

    @property
    def idle(self) -> bool:
        """No process and almost no memory in use. That it computes nothing now isn't enough."""
        return (
            self.usable
            and not self.problem
            and not self.processes
            and self.memory_used <= FREE_MEMORY_BYTES
        )

    @property
    def free(self) -> bool:
        """Idle, and not leased by another run."""
        return self.idle and not self.leased

    @property
    def blocked(self) -> str:
        """Why no further program can use it; empty if one can."""
        if not self.usable:
            return self.problem or "it can't be used"
        if self.exclusive and self.processes:
            return f"it is in exclusive mode, and {self.users}"
        return ""

    @property
    def users(self) -> str:
        """Who uses it, in words; empty if it is free."""
        words = []
        if self.processes:
            known = [f"{pid} ({user})" if user else f"{pid}" for pid, user in self.processes]
            words.append(f"used by pid {', '.join(known[:3])}{' and more' if known[3:] else ''}")
        elif self.memory_used > FREE_MEMORY_BYTES:
            words.append(f"{self.memory_used / 2**30:.1f} GiB in use by an unseen process")
        if self.leased:
            words.append(f"leased by {self.leased}")
        if self.problem:
            words.append(self.problem)
        return ", ".join(words)


def to_json(gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """GPUs as JSON data."""
    return [asdict(gpu) for gpu in gpus]


def from_json(data: Sequence[Mapping[str, Any]]) -> tuple[Gpu, ...]:
    """Read GPUs from a node's JSON data. Raises ValueError on anything else."""
    return tuple(_gpu(entry) for entry in data)


def probe(visible: str | None, own: Collection[str] = ()) -> tuple[Gpu, ...]:
    """Return the GPUs of this machine that ``visible``, an outer CUDA_VISIBLE_DEVICES, leaves.

    None: it is not set. Without a driver there are none. ``own`` are leases of the caller's own.
    """
    return from_json(probe_node(visible, own)["gpus"])


def divide(gpus: Sequence[Gpu], num_nodes: int) -> tuple[tuple[Gpu, ...], ...]:
    """Share GPUs of one machine among the nodes it acts as: neighbours together, evenly.

    The first nodes get one more where the number doesn't divide.
    """
    each, more = divmod(len(gpus), num_nodes)
    starts = [node * each + min(node, more) for node in range(num_nodes + 1)]
    return tuple(tuple(gpus[starts[i] : starts[i + 1]]) for i in range(num_nodes))


def _gpu(entry: Mapping[str, Any]) -> Gpu:
    try:
        values = {field.name: entry[field.name] for field in fields(Gpu)}
        values["processes"] = tuple((int(pid), str(user)) for pid, user in values["processes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a GPU: {error!r}") from error
    gpu = Gpu(**values)
    for name, value in values.items():
        if type(value) is not type(getattr(_ANY, name)):
            raise ValueError(f"not a GPU: {name} is {value!r}")
    return gpu


_ANY = Gpu(index=0, uuid="")
