"""What happens in a rank that was forked or spawned for one verb."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import pickle
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import torch
import torch.distributed as dist

from engine.runtime.distributed.gloo_threads import settle
from engine.runtime.seed import set_random_state
from engine.trainer.children import handover


class Switches(NamedTuple):
    """What a program sets of torch for all of a process."""

    dtype: torch.dtype
    matmul: str
    is_deterministic: bool
    only_warns: bool
    benchmark: bool

    @classmethod
    def of_now(cls) -> Switches:
        """As they are in this process."""
        return cls(
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
        )

    def set(self) -> None:
        """Make them so here."""
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul)
        torch.use_deterministic_algorithms(self.is_deterministic, warn_only=self.only_warns)
        torch.backends.cudnn.benchmark = self.benchmark


@dataclass(frozen=True)
class Job:
    """The verb of a trainer to run, and the world to run it in."""

    trainer: Any
    verb: str
    given: dict[str, Any]
    env: dict[str, str]
    threads: int | None  # None: as torch likes
    parent: int
    random: dict[str, Any]  # all ranks draw as the parent would
    switches: Switches


class Files(NamedTuple):
    """What a rank writes to: files without a name, which only its parent has, too."""

    report: IO[bytes]  # how it failed
    state: IO[bytes]  # rank zero's: what comes back
    result: IO[bytes]  # rank zero's: what the verb returned


def forked(job: Job, rank: int, files: Files, streams: tuple[int, int] | None) -> None:
    """The life of a rank that was forked; ends the process."""
    stays_with(job.parent)
    if streams is not None:
        for number, name, fd in ((1, "stdout", streams[0]), (2, "stderr", streams[1])):
            os.dup2(fd, number)
            os.close(fd)
            setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
    for logger in job.trainer.loggers:  # files and threads of theirs are the parent's
        with suppress(AttributeError, TypeError):
            vars(logger).update(logger.__getstate__())
    code = _run(job, rank, files, pickle)
    # multiprocessing ends the workers of loaders now: torch must not take that for a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.exit(code)


def spawned(parent: int, rank: int, payload: int, *fds: int) -> None:
    """The life of a rank that was spawned: the job comes in a file that our parent wrote."""
    import cloudpickle

    stays_with(parent)
    files = Files(*(os.fdopen(fd, "wb") for fd in fds))
    with mmap.mmap(payload, 0, access=mmap.ACCESS_READ) as content:
        job, sys.argv[:] = torch.load(io.BytesIO(content), weights_only=False)
    job.switches.set()
    set_random_state(job.random)
    sys.exit(_run(job, rank, files, cloudpickle))


def stays_with(parent: int) -> None:
    """End with the parent, and have Ctrl-C from it alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(job: Job, rank: int, files: Files, pickler: Any) -> int:
    os.environ.update(job.env, RANK=str(rank), LOCAL_RANK=str(rank))
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    state = job.trainer.state
    if state.left_by:
        state.restored_metrics, state.epoch_random = state.left_by[rank]
        state.left_by = []
    trainer, marks = job.trainer, handover.marked(job.trainer, job.given)
    try:
        result = getattr(trainer, job.verb)(**job.given)
        back = handover.collect(trainer, marks)
        if rank == 0:
            handover.write(back, files.state)
            _save(result, files.result, pickler)
        if dist.is_initialized():
            settle()
            dist.destroy_process_group()
    except BaseException as error:
        _tell(error, files.report, pickler)
        if rank == 0:
            with suppress(Exception):  # the run has failed already
                handover.write(handover.collect(trainer, marks, is_whole=False), files.state)
        return _code_of(error)
    return 0


def _save(result: Any, file: IO[bytes], pickler: Any) -> None:
    import cloudpickle

    kept = io.BytesIO()
    try:
        torch.save(result, kept, pickle_module=pickler)
    except (pickle.PicklingError, AttributeError, TypeError):
        kept = io.BytesIO()
        torch.save(result, kept, pickle_module=cloudpickle)
    file.write(kept.getbuffer())
    file.flush()


def _tell(error: BaseException, file: IO[bytes], pickler: Any) -> None:
    """Write down an error, before anybody else can see what follows from it."""
    at = time.monotonic()
    trace = error.__traceback__
    text = "".join(traceback.format_exception(type(error), error, trace and trace.tb_next))
    itself = None
    with suppress(Exception):
        itself = pickler.dumps(error)
        pickle.loads(itself)  # many can be pickled, and not read
    said = {"type": type(error).__name__, "message": str(error), "text": text, "at": at}
    pickle.dump({**said, "itself": itself, "code": _code_of(error)}, file)
    file.flush()


def _code_of(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1
