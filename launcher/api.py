"""The Python door: ``launch()``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher.job import Program, Result


class JobFailed(RuntimeError):
    """A launched job did not succeed. ``result`` tells everything."""

    def __init__(self, result: Result) -> None:
        from launcher.output import verdict_lines

        lines = [f"the job {result.state} with exit code {result.exit_code}"]
        if result.verdict is not None:
            lines = [line.removeprefix("plaunch: ") for line in verdict_lines(result.verdict)]
        super().__init__("\n".join(lines))
        self.result = result


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
    compat: str | None = None,
    check: bool = True,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Run a script or a function on every rank and return the result.

    ``program`` is a script's path (``args`` are its words), or a function, which every rank calls
    with ``args`` and ``kwargs``; what it returns (JSON data; tensors and arrays become lists) is
    the rank's value: ``result.values[rank]``. A function travels by cloudpickle, to the ranks only.

    The other arguments are the command line's: ``cluster``, ``hosts``, ``nodes`` (N or (MIN, MAX)),
    ``gpus``, ``procs``, ``env``, ``compat``, and in ``options`` ``max_restarts``, ``grace_s``,
    ``failure_grace_s``, ``timeout_s``, ``preload``, ``start``, ``run_dir``, ``restart``,
    ``result_file``. From a SLURM login node also
    ``time``, ``partition``, ``account``, ``qos``, ``requeue``, ``signal_lead_s``, ``sbatch``: the
    job is waited for; launcher.watch.LeftRunning is raised when the user goes away from it.

    Raises JobFailed if the job did not succeed (unless ``check`` is False), UsageError for a
    request that makes no sense, ClusterError if the nodes are not as asked.
    """
    from launcher import request
    from launcher.output import Output
    from launcher.run import execute

    wanted = request.Wanted(
        cluster=cluster,
        hosts=hosts,
        nodes=(nodes, nodes) if isinstance(nodes, int) else nodes,
        gpus=None if gpus is None else str(gpus),
        procs=procs,
        env=dict(env or {}),
        **options,
    )
    made = _program(program, args, kwargs)
    if compat is not None:
        request.make_program(made.kind, made.target, (), compat)  # what is wrong with it is said
        made = replace(made, compat=compat)
    result = execute(wanted, made, Output(quiet=quiet))
    if check and result.state != "succeeded":
        raise JobFailed(result)
    return result


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
