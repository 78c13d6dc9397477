"""The Python door: ``launch()``, and ``submit()`` for a run in the background."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from launcher.batch.handle import Handle, JobFailed, LedRun, QueuedRun, checked
from launcher.core.job import Program, Result, RunOptions, StartMethod
from launcher.core.options import OPTIONS

if TYPE_CHECKING:
    from launcher.core.console.console import Output
    from launcher.request.discovery import Discovered

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
    """Run a script or a function on every rank, wait for its end, and return the result.

    Every option of the ``plaunch`` command is a keyword, with the same default. From a SLURM login
    node the run is a job in the queue, and is waited for, too.

    Example:
        Four ranks on this machine, each of which returns what it has measured::

            def train(lr):
                ...
                return {"loss": loss}

            result = launch(train, args=[0.1], procs=4)
            print(result.values[0]["loss"])

    Args:
        program: A script's path, or a function, which every rank calls. What a function returns
            (JSON data; tensors and arrays become lists) is the rank's value,
            ``result.values[rank]``. What an ``engine`` Trainer in it has measured is in
            ``result.metrics[rank]`` (and is the value of a function that returns nothing). A
            function travels by cloudpickle, to the ranks only.
        args: The script's words, or the function's positional arguments.
        kwargs: The function's keyword arguments; a script has none.
        cluster: ``"local"``, ``"ssh"``, ``"slurm"``, ``"ray"``, or the path of a cluster file.
            Default: the SLURM allocation or Ray cluster that we are in, ``"ssh"`` if there are
            ``hosts``, else this machine.
        hosts: SSH hosts, such as ``"h1,h[2-4],user@h5:2222"``.
        nodes: How many nodes: a number, or a pair (least, most). Default: one on this machine and
            from SLURM's queue, else all nodes of the cluster.
        gpus: GPUs of each node: a number, ``"all"``, ``"free"``, ``"free:2"``, a list such as
            ``"0,1"``, or a list for each node: ``"h1:0,1;h2:2"``. 0: none. Default: all.
        procs: Ranks on each node. Default: one for each GPU, or one where there are none.
        env: Variables for all ranks.
        preload: Modules that each node imports once, beside torch, before its ranks are forked.
        start: ``"warm"``: a node's ranks are forked from a process that has imported torch.
            ``"cold"``: each starts an interpreter of its own.
        compat: ``"pytorch_lightning"`` or ``"lightning"``: a program that was written for it runs
            on the engine, unedited. Default: imports are left as they are.
        max_restarts: How often the run is started again after a failure.
        grace_s: How long ranks may take to save and end after Ctrl-C, SIGTERM or SLURM's warning,
            in seconds.
        failure_grace_s: How long the healthy ranks may take to end once one has failed, in seconds;
            0: they are killed at once.
        timeout_s: How long the whole run may take, restarts included, in seconds. Default: no
            limit.
        run_dir: The run's folder; the same again continues a run that was cut short. Default: a new
            one in ``plaunch_runs/`` of the current folder.
        restart: Begin anew in the folder of an old run: what it holds is thrown away.
        result_file: A file that gets a copy of the result, as JSON.
        wait_s: How long a Ray cluster's resources are waited for, in seconds. Default: 60.
        time: The SLURM job's limit: a number of minutes, or SLURM's forms, such as ``"2:00:00"``.
            Default, as for the next three: what the cluster file says, else SLURM's own.
        partition: The partition that the job is queued in.
        account: Who is charged for the job.
        qos: The job's quality of service.
        requeue: Queue the job again when it is preempted or near its limit; it goes on from where
            its ranks have saved.
        signal_lead_s: How long before its end the job's ranks are told to save, in seconds.
            Default: 120 with ``requeue``, else they are not told.
        sbatch: Further options for sbatch: a text such as ``"--exclusive"``, or several.
        new_job: From inside a SLURM allocation, submit a job of its own.
        check: Raise JobFailed for a run that did not succeed. False: its result is returned.
        quiet: Show the ranks' output and errors only.

    Returns:
        How the run ended, and what its ranks gave back.

    Raises:
        JobFailed: The run did not succeed, and ``check`` is True.
        UsageError: The request makes no sense.
        ClusterError: A node can't be used, or SLURM refuses the job; nothing was started.
        PlacementError: The ranks don't fit the nodes.
        RunDirError: The run's folder can't be used.
        LeftRunning: Of a job in SLURM's queue: the user went away, and the job goes on.
        TypeError: ``args`` is no list, or a script was given ``kwargs``.
    """
    call = _call(**locals())
    from launcher.request.dispatch import execute

    result = execute(call.options, call.program, call.output, here=_run_here, queue=_run_queued)
    return checked(result) if check else result


def _run_here(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Result:
    from launcher.controller.run import execute

    return execute(options, program, discovered, output)


def _run_queued(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Result:
    from launcher.batch.run import execute

    return execute(options, program, discovered, output)


@_takes_arguments_of(launch)
def submit(**arguments: Any) -> Handle:
    """Begin what ``launch()`` with the same arguments would run, and return at once.

    A thread of this process leads the run, and the process's end waits for it; on SLURM the run is
    a job in the queue, which goes on without this process.

    Example:
        Two runs at once::

            runs = [submit(train, args=[lr], procs=1) for lr in (0.1, 0.2)]
            losses = [run.result().values[0] for run in runs]

    Args:
        **arguments: Those of ``launch()``.

    Returns:
        A handle with ``result()``, ``done()``, ``status()`` and ``cancel()``.

    Raises:
        UsageError: The request makes no sense.
        ClusterError: On SLURM: it refuses the job. Elsewhere ``result()`` raises this.
        RunDirError: On SLURM: the run's folder can't be used. Elsewhere ``result()`` raises this.
    """
    call = _call(**arguments)
    from launcher.request.dispatch import execute

    begun = execute(call.options, call.program, call.output, here=_begin_here, queue=_begin_queued)
    return begun(check=call.check)


def _begin_here(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Callable[..., Handle]:
    from launcher.request.make_cluster import check_script, make_cluster
    from launcher.request.request import make_job

    cluster = make_cluster(options, discovered, output)
    check_script(cluster, program)
    return partial(LedRun, make_job(options, program), cluster, output)


def _begin_queued(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Callable[..., Handle]:
    from launcher.batch.run import begin

    return partial(QueuedRun, begin(options, program, discovered, output), output)


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
