"""The reading side of the seam: which rank am I, and how do ranks agree.

A launcher (torchrun, plaunch or any other that sets torchrun's variables) makes the processes, or
`srun` does, or rank zero itself (`launch.py` beside); this module reads what they set. Collectives
are no-ops in a world of one.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from engine.runtime.distributed.gloo_threads import settle
from engine.runtime.distributed.messages import Letter
from engine.runtime.distributed.slurm_env import torchrun_variables
from engine.runtime.torch_internals.torch_parts import device_for_messages

T = TypeVar("T")
_is_alone = False  # see `alone`

# The run's id where rank zero, which nobody launched, started the other ranks: this and its pid.
OF_ENGINE = "engine-"
# The same, where all ranks are children of the process that called the verb.
OF_PARENT = "engine-children-"


@dataclass(frozen=True)
class World:
    """The place of this process among all processes of the job."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    node_rank: int = 0
    launched: bool = False
    by_engine: bool = False  # it was the Trainer of rank zero that started the others

    @property
    def num_nodes(self) -> int:
        """Number of nodes, where all have as many ranks as this one."""
        return max(1, self.world_size // max(1, self.local_world_size))


def read_world(env: Mapping[str, str] = os.environ) -> World:
    """The world as a launcher describes it, or the process group that the user made, or just us.

    SLURM's word comes last: a task that srun started.
    """
    starter = _starter(env)
    if "RANK" in env and "WORLD_SIZE" in env and _is_one_of_its_ranks(starter, env):
        world_size = int(env["WORLD_SIZE"])
        return World(
            rank=int(env["RANK"]),
            local_rank=int(env.get("LOCAL_RANK", env["RANK"])),
            world_size=world_size,
            local_world_size=int(env.get("LOCAL_WORLD_SIZE", world_size)),
            node_rank=int(env.get("GROUP_RANK", 0)),
            launched=True,
            by_engine=starter is not None,
        )
    if dist.is_available() and dist.is_initialized():
        rank, world_size = dist.get_rank(), dist.get_world_size()
        return World(rank, rank, world_size, world_size, 0, launched=True)
    task = torchrun_variables(env)
    return read_world(task) if task else World()


def _starter(env: Mapping[str, str]) -> int | None:
    """The process id of the one that started the others, if it was not a launcher."""
    run_id = env.get("TORCHELASTIC_RUN_ID", "")
    pid = run_id.removeprefix(OF_PARENT).removeprefix(OF_ENGINE)
    return int(pid) if pid.isdigit() and pid != run_id else None


def _is_one_of_its_ranks(starter: int | None, env: Mapping[str, str]) -> bool:
    # Another program that a rank starts has the rank's variables, and is none of them.
    if starter is None:
        return True
    is_starter = env["RANK"] == "0" and not env["TORCHELASTIC_RUN_ID"].startswith(OF_PARENT)
    return starter == (os.getpid() if is_starter else os.getppid())


def join_group(world: World, device: torch.device, backend: str | None = None) -> None:
    """Join the process group of the world, unless the user has made one already.

    On GPUs tensors go through nccl and small objects through gloo, so that agreeing on a name or a
    number never waits for a device.
    """
    if world.world_size == 1 or dist.is_initialized():
        return
    if world.launched:
        os.environ.update(torchrun_variables(os.environ))  # torch and the user's code know those
    backend = backend or ("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    dist.init_process_group(backend, rank=world.rank, world_size=world.world_size)
    atexit.register(_leave_group)


def _leave_group() -> None:
    # After a failure the others may be gone already: the launcher ends us, a goodbye could hang.
    if not dist.is_initialized() or getattr(sys, "last_value", None) is not None:
        return
    settle()
    dist.destroy_process_group()


def is_connected() -> bool:
    """Whether there are others to agree with."""
    if _is_alone:
        return False
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def alone() -> Iterator[None]:
    """Within, this rank agrees with nobody: for what may fail on one rank only."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def broadcast(value: T, src: int = 0) -> T:
    """The value that rank `src` has. Raises NotPlain on all ranks if it is no plain data."""
    if not is_connected():
        return value
    is_source, device = dist.get_rank() == src, device_for_messages()
    letter = Letter.of(value) if is_source else Letter.empty()
    first = letter.first.to(device)
    dist.broadcast(first, src)
    letter = letter if is_source else Letter.begun(first.cpu())
    if letter.rest_size:
        rest = letter.rest(letter.rest_size).to(device)
        dist.broadcast(rest, src)
        letter.end(rest.cpu())
    value_here: T = letter.read(src)
    return value_here


def gather_all(value: T) -> list[T]:
    """The values of all ranks, by rank. Raises NotPlain on all if one is no plain data."""
    if not is_connected():
        return [value]
    device, ranks = device_for_messages(), range(dist.get_world_size())
    mine = Letter.of(value)
    letters = _first_parts(mine, device)
    most = max(letter.rest_size for letter in letters)
    if most:
        part = mine.rest(most).to(device)
        parts = [torch.empty_like(part) for _ in ranks]
        dist.all_gather(parts, part)
        for letter, rest in zip(letters, parts, strict=True):
            letter.end(rest.cpu())
    return [letter.read(rank) for rank, letter in enumerate(letters)]


def gather_to_zero(value: T) -> list[T] | None:
    """The values of all ranks on rank zero, None elsewhere. Raises NotPlain on all ranks."""
    if not is_connected():
        return [value]
    device, is_zero = device_for_messages(), dist.get_rank() == 0
    mine = Letter.of(value)
    letters = _first_parts(mine, device)
    for rank, letter in enumerate(letters):
        letter.check(rank)
    most = max(letter.rest_size for letter in letters)
    if most:
        part = mine.rest(most).to(device)
        parts = [torch.empty_like(part) for _ in letters] if is_zero else None
        dist.gather(part, parts)
        for letter, rest in zip(letters, parts or [], strict=False):
            letter.end(rest.cpu())
    return [letter.read(rank) for rank, letter in enumerate(letters)] if is_zero else None


def _first_parts(mine: Letter, device: torch.device) -> list[Letter]:
    first = mine.first.to(device)
    firsts = [torch.empty_like(first) for _ in range(dist.get_world_size())]
    dist.all_gather(firsts, first)
    return [Letter.begun(one.cpu()) for one in firsts]


def barrier() -> None:
    """Wait until all ranks are here."""
    if is_connected():
        # An object collective instead of dist.barrier: it never touches the device.
        gather_all(None)


def all_reduce(value: torch.Tensor, op: str = "mean") -> torch.Tensor:
    """Sum, mean, min or max of a tensor over all ranks, as a new tensor."""
    if not is_connected():
        return value
    value = value.detach().clone()
    kind = {"min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}.get(op, dist.ReduceOp.SUM)
    if op == "mean" and not value.is_floating_point():
        value = value.float()
    dist.all_reduce(value, kind)
    return value / dist.get_world_size() if op == "mean" else value


def raise_together(error: BaseException | None, told: T | None = None) -> T | None:
    """Raise on every rank what happened on any: nobody waits for a rank that has failed.

    Returns what rank zero has `told`.
    """
    text = None if error is None else str(error) or type(error).__name__
    said = gather_all((text, told))
    failed = [text for text, _ in said if text]
    if error is not None:
        raise error
    if failed:
        raise RuntimeError(f"another rank failed: {failed[0]}")
    return said[0][1]


def on_rank_zero() -> bool:
    """Whether this is the process that prints and writes."""
    return rank_zero_only.rank == 0


class RankZeroOnly:
    """Makes a function do nothing on all ranks but the first: `@rank_zero_only`.

    Programs of 1.x also read `rank_zero_only.rank`, and some set it: then that counts.
    """

    def __init__(self) -> None:
        self._given: int | None = None

    @property
    def rank(self) -> int:
        """The rank of this process."""
        if self._given is not None:
            return self._given
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank()
        known = os.environ.get("RANK") or torchrun_variables(os.environ).get("RANK", "0")
        return int(known)

    @rank.setter
    def rank(self, value: int) -> None:
        self._given = value

    def __call__(self, function: Callable[..., T]) -> Callable[..., T | None]:
        """The function, doing nothing elsewhere."""

        @wraps(function)
        def on_zero(*args: Any, **kwargs: Any) -> T | None:
            if self.rank != 0:
                return None
            with alone():  # the others are not in it: nothing may wait for them
                return function(*args, **kwargs)

        return on_zero


rank_zero_only = RankZeroOnly()


def rank_zero_info(message: Any, *args: Any, **_: object) -> None:
    """One line to stderr, from rank zero; `args` are put in the place of `%s` and the like."""
    if on_rank_zero():
        sys.stderr.write(f"{str(message) % args if args else message}\n")
        sys.stderr.flush()


def rank_zero_warn(
    message: Any, category: type[Warning] = UserWarning, stacklevel: int | None = None, **_: object
) -> None:
    """A warning from rank zero, which shows the line of the user's that led to it."""
    if on_rank_zero():
        level = _users_level() if stacklevel is None else stacklevel
        warnings.warn(message, category, stacklevel=level)


def _users_level() -> int:
    """The stack level, as `warn` counts for its caller, of the nearest line that is not ours."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(name: str) -> bool:
    return name in ("engine", "contextlib") or name.startswith("engine.")
