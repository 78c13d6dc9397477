"""The Python door: ``launch()``, and ``submit()`` for a run in the background."""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from launcher.batch.handle import Handle, JobFailed, LedRun, QueuedRun, checked
from launcher.core.job import Program, Result, StartMethod

if TYPE_CHECKING:
    from launcher.core.console.console import Output
    from launcher.request.request import Wanted

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
    from launcher.controller.run import execute

    result = execute(call.wanted, call.program, call.output)
    return checked(result) if check else result


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
    from launcher.request import request

    found = request.find(call.wanted)
    if request.is_submitted(call.wanted, found):
        from launcher.batch import run as queued

        queued_job = queued.begin(call.wanted, call.program, found, call.output)
        return QueuedRun(queued_job, call.output, check=call.check)
    cluster = request.make_cluster(call.wanted, found, call.output)
    request.check_script(cluster, call.program)
    job = request.make_job(call.wanted, call.program)
    return LedRun(job, cluster, call.output, check=call.check)


@dataclass(frozen=True)
class _Call:
    """What the arguments of ``launch()`` and ``submit()`` mean."""

    wanted: Wanted
    program: Program
    output: Output
    check: bool


def _call(  # noqa: PLR0913 - those arguments that mean something else to the command line
    program: str | Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    *,
    nodes: int | tuple[int, int] | None,
    gpus: int | str | None,
    env: Mapping[str, str] | None,
    preload: Sequence[str],
    compat: str | None,
    time: str | int | None,
    sbatch: str | Sequence[str],
    check: bool,
    quiet: bool,
    **options: Any,
) -> _Call:
    from launcher.core.console.console import Output
    from launcher.core.errors import UsageError
    from launcher.request import request

    if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
        raise TypeError(f"args: a list of arguments is needed, not {args!r}")
    for name in ("procs", "max_restarts", "signal_lead_s"):
        value = options[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{name}: a whole number is needed, not {value!r}")
    for name in ("grace_s", "failure_grace_s", "timeout_s", "wait_s"):
        value = options[name]
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            raise UsageError(f"{name}: a number of seconds is needed, not {value!r}")
    wanted = request.Wanted(
        nodes=(nodes, nodes) if isinstance(nodes, int) else nodes,
        gpus=None if gpus is None else str(gpus),
        env=dict(env or {}),
        preload=(preload,) if isinstance(preload, str) else tuple(preload),
        time=None if time is None else str(time),
        sbatch=(sbatch,) if isinstance(sbatch, str) else tuple(sbatch),
        **options,
    )
    made = _program(program, args, kwargs)
    if compat is not None:
        request.make_program(made.kind, made.target, (), compat)  # what is wrong with it is said
        made = replace(made, compat=compat)
    return _Call(wanted, made, Output(quiet=quiet), check)


def _program(
    program: str | Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> Program:
    if callable(program):
        import cloudpickle

        main = sys.modules.get("__main__")
        name = getattr(program, "__name__", type(program).__name__)
        module = sys.modules.get(getattr(program, "__module__", ""))
        if module is not None and module is not main and not _is_installed(module):
            # A function of a module beside the script: the nodes may not have that file.
            cloudpickle.register_pickle_by_value(module)
            try:
                pickled = cloudpickle.dumps((program, tuple(args), dict(kwargs or {})))
            finally:
                cloudpickle.unregister_pickle_by_value(module)
        else:
            pickled = cloudpickle.dumps((program, tuple(args), dict(kwargs or {})))
        return Program("function", name, (), pickled)
    if kwargs:
        raise TypeError("a script takes words, not keyword arguments: give them in args")
    return Program("script", os.fspath(program), tuple(map(str, args)))


def _is_installed(module: Any) -> bool:
    path = getattr(module, "__file__", None) or ""
    return not path or "site-packages" in path or path.startswith(sys.base_prefix)
