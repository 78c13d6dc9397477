"""The Python door: ``launch()``, and ``submit()`` for a run in the background."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from launcher.batch.handle import Handle, JobFailed, LedRun, QueuedRun, checked
from launcher.core.job import Program, Result
from launcher.core.options import OPTIONS, RunOptions, StartMethod

if TYPE_CHECKING:
    from launcher.core.console.console import Output
    from launcher.request.discovery import Found

__all__ = ["Handle", "JobFailed", "launch", "submit"]

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def _takes_arguments_of(
    original: Callable[Arguments, Any],
) -> Callable[[Callable[..., Returned]], Callable[Arguments, Returned]]:
    """A function with the arguments of another one, which it gets by name, defaults included."""
    signature = inspect.signature(original)

    def decorate(function: Callable[..., Returned]) -> Callable[Arguments, Returned]:
        @wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return function(**bound.arguments)

        returned = inspect.signature(function).return_annotation
        call.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]  # what help() shows
        return call

    return decorate


def launch(  # noqa: PLR0913 - the command line's options, as keywords
    program: str | Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    cluster: str | None = None,
    hosts: str | None = None,
    nodes: int | tuple[int, int] | None = None,
    gpus: int | str | None = None,
    procs: int | None = None,
    env: Mapping[str, str] | None = None,
    preload: Sequence[str] = (),
    start: StartMethod = "warm",
    compat: str | None = None,
    max_restarts: int = 0,
    grace_s: float = 30.0,
    failure_grace_s: float = 5.0,
    timeout_s: float | None = None,
    run_dir: str | None = None,
    restart: bool = False,
    result_file: str | None = None,
    wait_s: float | None = None,
    time: str | int | None = None,
    partition: str | None = None,
    account: str | None = None,
    qos: str | None = None,
    requeue: bool = False,
    signal_lead_s: int | None = None,
    sbatch: str | Sequence[str] = (),
    new_job: bool = False,
    check: bool = True,
    quiet: bool = False,
) -> Result:
    """Run a script or a function on every rank and return the result.

    ``program`` is a script's path (``args`` are its words), or a function, which every rank calls
    with ``args`` and ``kwargs``; what it returns (JSON data; tensors and arrays become lists) is
    the rank's value: ``result.values[rank]``. A function travels by cloudpickle, to the ranks only.
    What an ``engine`` Trainer in it has measured is in ``result.metrics[rank]`` beside that (and is
    the value of a function that returns nothing).

    Where: ``cluster`` (local, ssh, slurm, ray, or a cluster file), ``hosts`` ("h1,h[2-4]"),
    ``nodes`` (N or (MIN, MAX)), ``gpus`` and ``procs`` of each node, ``wait_s`` for a Ray cluster's
    resources. How: ``env`` for all ranks, ``preload`` (modules to import once a node), ``start``
    ("warm" or "cold"), ``compat`` (the package that the engine stands in for). When something goes
    wrong: ``max_restarts``, ``grace_s`` (to save after a signal), ``failure_grace_s`` (for ranks to
    end when another one has failed), ``timeout_s`` (of the whole run). What is kept: ``run_dir``
    (the same again continues a run), ``restart`` (begin anew in it), ``result_file`` (a copy of the
    result). ``quiet`` leaves the ranks' output and errors only.

    From a SLURM login node: ``time`` (minutes, or SLURM's forms), ``partition``, ``account``,
    ``qos``, ``requeue``, ``signal_lead_s``, ``sbatch`` (its further options); ``new_job`` submits a
    job of its own from inside an allocation. The job is waited for;
    launcher.batch.poll.LeftRunning is raised when the user goes away from it.

    Raises JobFailed if the job did not succeed (unless ``check`` is False), UsageError for a
    request that makes no sense, ClusterError if the nodes are not as asked.
    """
    call = _call(**locals())
    from launcher.request.dispatch import execute

    result = execute(call.options, call.program, call.output, here=_run_here, queue=_run_queued)
    return checked(result) if check else result


def _run_here(options: RunOptions, program: Program, found: Found, output: Output) -> Result:
    from launcher.controller.run import execute

    return execute(options, program, found, output)


def _run_queued(options: RunOptions, program: Program, found: Found, output: Output) -> Result:
    from launcher.batch.run import execute

    return execute(options, program, found, output)


@_takes_arguments_of(launch)
def submit(**arguments: Any) -> Handle:
    """Begin what ``launch()`` with the same arguments would run, and return a handle at once.

    The handle has ``result()``, ``done()``, ``status()`` and ``cancel()``. A thread of this process
    leads the run, and the process's end waits for it; on SLURM the run is a job in the queue, which
    goes on without this process.

    Raises UsageError for a request that makes no sense; on SLURM ClusterError and RunDirError, too,
    which elsewhere ``result()`` raises.
    """
    call = _call(**arguments)
    from launcher.request.dispatch import execute

    begun = execute(call.options, call.program, call.output, here=_begin_here, queue=_begin_queued)
    return begun(check=call.check)


def _begin_here(
    options: RunOptions, program: Program, found: Found, output: Output
) -> Callable[..., Handle]:
    from launcher.request.make_cluster import check_script, make_cluster
    from launcher.request.request import make_job

    cluster = make_cluster(options, found, output)
    check_script(cluster, program)
    return partial(LedRun, make_job(options, program), cluster, output)


def _begin_queued(
    options: RunOptions, program: Program, found: Found, output: Output
) -> Callable[..., Handle]:
    from launcher.batch.run import begin

    return partial(QueuedRun, begin(options, program, found, output), output)


@dataclass(frozen=True)
class _Call:
    """What the arguments of ``launch()`` and ``submit()`` mean."""

    options: RunOptions
    program: Program
    output: Output
    check: bool


def _call(
    program: str | Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    **keywords: Any,
) -> _Call:
    from launcher.core.console.console import Output
    from launcher.request.program import from_python
    from launcher.request.values import from_keywords

    if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
        raise TypeError(f"args: a list of arguments is needed, not {args!r}")
    given = {name: value for name, value in keywords.items() if name in OPTIONS}
    options = from_keywords(given)
    made = from_python(program, args, kwargs, keywords["compat"])
    return _Call(options, made, Output(quiet=keywords["quiet"]), keywords["check"])
