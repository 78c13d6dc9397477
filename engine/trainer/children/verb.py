"""A verb of a trainer, run by ranks that are children of this process."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import IO, Any, NamedTuple

import torch

from engine.runtime.distributed import launch as starting
from engine.runtime.distributed.world import OF_PARENT, rank_zero_info
from engine.runtime.errors import MisconfigurationException, RankFailed, RankTraceback
from engine.runtime.seed import random_state
from engine.trainer.children import handover
from engine.trainer.children.processes import Child, Relay, fork, kill, spawn, unnamed_file, wait
from engine.trainer.children.rank import Job, Switches
from engine.trainer.children.safety import threads_are_quiet, why_not_fork

# In the message of an error that only says that another rank is gone.
_BROKEN = ("gloo", "nccl", "connection", "peer", "store", "socket", "timed out", "timeout")


class Outcome(NamedTuple):
    """What became of a verb."""

    value: Any  # what rank zero's call returned
    back: dict[str, Any]  # for `handover.take_over`; empty where rank zero could write nothing
    error: BaseException | None  # of the rank that failed first


def run_verb(
    trainer: Any, verb: str, given: dict[str, Any], method: str, noting: AbstractContextManager[Any]
) -> Outcome:
    """Run `trainer.verb(**given)` on the ranks that the trainer asks for.

    `method` is fork, spawn, or auto: fork where it is safe. `noting` is entered while they run.
    """
    uses_cuda = trainer.strategy.root_device.type == "cuda"
    forks = _forks(method, why_not_fork(uses_cuda) if method != "spawn" else "")
    if forks:
        trainer.strategy.load()
    world_size = trainer.strategy.world_size
    listening = socket.create_server(("127.0.0.1", 0))
    threads = None
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // world_size)
    if forks and not threads_are_quiet():
        threads = 1
    env = starting.variables(world_size, listening.getsockname()[1], f"{OF_PARENT}{os.getpid()}")
    here = (threads, os.getpid(), random_state(), Switches.of_now())
    job = Job(trainer, verb, given, env, *here)
    relay, children = Relay(), list[Child]()
    payload = None if forks else _payload(job)
    store: starting.HostedStore | None = None
    try:
        for rank in range(world_size):
            if payload is None:
                children.append(fork(job, rank, relay, [listening, *_files_of(children)]))
            else:
                children.append(spawn(job, rank, relay, payload))
        store = starting.HostedStore(listening)
        with noting:
            was_interrupted = wait(children, relay)
        return _outcome(children, was_interrupted)
    finally:
        kill(children)
        relay.close()
        if store is not None:
            store.close()
        listening.close()
        for file in [*_files_of(children), *([payload] if payload is not None else [])]:
            file.close()


def _files_of(children: Sequence[Child]) -> list[IO[bytes]]:
    return [file for child in children for file in child.files]


def _forks(method: str, why_not: str | None) -> bool:
    """Whether ranks are forked; raises where they must be and can't."""
    if method == "spawn":
        return False
    if why_not is None:
        return True
    if method == "fork":
        raise MisconfigurationException(
            f"ranks can't be forked here, since {why_not}. Use strategy='ddp_spawn'; or restart "
            "the notebook and begin with the fit: whatever uses CUDA (torch.cuda.is_available() "
            "is enough) comes after it"
        )
    rank_zero_info(f"engine: ranks are spawned, not forked, since {why_not}")
    return False


def _payload(job: Job) -> IO[bytes]:
    """The job in a file without a name; raises where it can't be pickled, with what to do."""
    import cloudpickle

    file = unnamed_file()
    trainer = job.trainer
    trainer.forget_run()
    try:
        torch.save((job, sys.argv), file, pickle_module=cloudpickle)
    except Exception as error:
        parts = {**job.given, "the trainer": trainer}
        parts.update({f"callback {type(one).__name__}": one for one in trainer.callbacks})
        parts.update({f"logger {type(one).__name__}": one for one in trainer.loggers})
        raise MisconfigurationException(
            f"ranks are spawned with a pickled copy of what they need, and {_culprit(parts)} can't "
            f"be pickled: {error}. Make it where it is used (in `setup`, or in a hook), or leave "
            "strategy out: ranks are forked where that is safe, and nothing is pickled"
        ) from error
    file.flush()
    return file


def _culprit(parts: dict[str, Any]) -> str:
    """The name of what can't be pickled: of a part, or of an attribute of it."""
    for name, part in parts.items():
        if _can_be_pickled(part):
            continue
        within = vars(part) if hasattr(part, "__dict__") else {}
        bad = [one for one, value in within.items() if not _can_be_pickled(value)]
        return f"{name}.{bad[0]}" if bad else name
    return "something"


def _can_be_pickled(value: Any) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


# ---------------------------------------------------------------------- what became of them


def _outcome(children: Sequence[Child], was_interrupted: bool) -> Outcome:
    back = handover.read(children[0].files.state)
    failed = [child for child in children if child.code]
    if was_interrupted:
        return Outcome(None, back, KeyboardInterrupt())
    if failed:
        return Outcome(None, back, _error_of(_first(failed)))
    result = children[0].files.result
    result.seek(0)
    # Written by our own child, to a file that no other process has.
    value = torch.load(result, map_location="cpu", weights_only=False)
    return Outcome(value, back, None)


def _first(failed: Sequence[Child]) -> Child:
    """The rank that failed on its own account: what breaks between ranks follows from others."""

    def order(child: Child) -> tuple[bool, float]:
        said = _report(child)
        if said is None:
            return child.was_killed, child.ended_at
        broken = any(word in said["message"].lower() for word in _BROKEN)
        return broken and said["type"].endswith("Error"), said["at"]

    return min(failed, key=order)


def _report(child: Child) -> dict[str, Any] | None:
    """What a rank has written of its failure, if it could."""
    file = child.files.report
    file.seek(0)
    try:
        # Written by our own child, to a file that no other process has.
        found: dict[str, Any] = pickle.load(file)
    except (EOFError, pickle.UnpicklingError):
        return None
    return found


def _error_of(child: Child) -> BaseException:
    """The error of a rank, with the traceback that it had there."""
    said, code = _report(child), child.code or 0
    if said is None:
        how = f"ended with exit code {code} and said nothing"
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += ": by somebody, or by the system because memory had run out"
        return RankFailed(f"rank {child.rank} {how}")
    error: BaseException = RankFailed(f"rank {child.rank}: {said['type']}: {said['message']}")
    if said["itself"] is not None:
        with suppress(Exception):  # what it is made of may be there only
            error = pickle.loads(said["itself"])
    error.__cause__ = RankTraceback(child.rank, said["text"])
    return error
