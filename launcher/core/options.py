"""Every option of a run, once: its default, how it is written, and what it means.

The command line, the keywords of ``launch()`` and ``submit()``, the command in a batch script, the
one that resumes a run, and the job are made of these fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

StartMethod = Literal["warm", "cold"]  # as the options' field has it
# What a value is: on the command line, and from Python.
Kind = Literal[
    "text", "texts", "flag", "choice", "count", "number", "ranks", "seconds", "nodes", "variables"
]
WHERE, RAY, WHAT = "where", "on Ray", "what"
WHEN, KEEP, SLURM = (
    "when something goes wrong", "what is kept", "on SLURM, outside an allocation",
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """How an option is written.

    ``words`` are its names on the command line, the first of them the one in messages; ``group`` is
    the heading in ``--help``. ``keyword``: it is a keyword of ``launch()``, too. ``inside``: it
    stands in the command that a job of SLURM's runs, for it says how to run and not where.
    """

    words: tuple[str, ...]
    group: str
    help: str
    kind: Kind = "text"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    keyword: bool = True
    inside: bool = False

    @property
    def word(self) -> str:
        """The name in messages and in commands."""
        return self.words[0]


def option(
    words: str, group: str, help: str, metavar: str | None = None, default: Any = None, **more: Any
) -> Any:
    """A field of `RunOptions`. ``words`` are separated by spaces, ``more`` is of `Option`."""
    spec = Option(tuple(words.split()), group, help, metavar=metavar, **more)
    if spec.kind == "variables":  # values of variables are in no message
        return field(default_factory=dict, repr=False, metadata={"option": spec})
    return field(default=default, metadata={"option": spec})


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A request, as options or keyword arguments say it. None: not given. Durations end in ``_s``.

    In the order in which they are written in a command.
    """

    # A kind of cluster or a cluster file. Default: the cluster that we are in, else this machine.
    cluster: str | None = option(
        "--cluster", WHERE, "local, ssh, slurm, ray, or a cluster file (YAML)", "KIND|FILE"
    )
    # SSH hosts, or some of the cluster file's.
    hosts: str | None = option(
        "--hosts", WHERE, "SSH hosts: h1,h[2-4],user@h5:2222", "LIST"
    )  # fmt: skip
    # How many nodes: at least, at most. Default: one of this machine or of SLURM, else all.
    nodes: tuple[int, int] | None = option(
        "--nodes --nnodes",
        WHERE,
        "how many nodes (default: 1 locally, else all)",
        "N|MIN:MAX",
        kind="nodes",
        inside=True,
    )
    # GPUs of each node: a number, all, free[:N], a list, or lists of nodes. Default: all there are.
    gpus: str | None = option(
        "--gpus",
        WHAT,
        "GPUs of each node: a number, all, free ones, a list (3, is the GPU 3), or "
        "h1:LIST;h2:LIST; 0 is CPU",
        "N|all|free[:N]|LIST",
        inside=True,
    )
    # Ranks on each node. Default: one for each GPU, or one.
    procs: int | None = option(
        "--procs --nproc-per-node --nproc_per_node",
        WHAT,
        "ranks on each node; cpu: one a core (default: one a GPU, or one)",
        "N",
        kind="ranks",
        inside=True,
    )
    # How often a run that failed is started again.
    max_restarts: int = option(
        "--max-restarts --max_restarts",
        WHEN,
        "default: 0",
        "N",
        default=0,
        kind="number",
        inside=True,
    )
    # How long ranks may take to save and end after Ctrl-C, SIGTERM or SLURM's warning, in seconds.
    grace_s: float = option(
        "--grace",
        WHEN,
        "to end after Ctrl-C or SIGTERM (30)",
        "SECONDS",
        default=30.0,
        kind="seconds",
        inside=True,
    )
    # How long the healthy ranks may take to end once one has failed, in seconds; 0: none at all.
    failure_grace_s: float = option(
        "--failure-grace",
        WHEN,
        "for the healthy ranks to end after one has failed (5); 0: killed at once",
        "SECONDS",
        default=5.0,
        kind="seconds",
        inside=True,
    )
    # How long the whole run may take, restarts included, in seconds. Default: without end.
    timeout_s: float | None = option(
        "--timeout", WHEN, "of the whole run", "SECONDS", kind="seconds", inside=True
    )
    # How long a Ray cluster's resources are waited for, in seconds. Default: 60.
    wait_s: float | None = option(
        "--wait", RAY, "for the resources to be free (60)", "SECONDS", kind="seconds"
    )
    # Variables for all ranks, by name.
    env: Mapping[str, str] = option(
        "--env",
        WHAT,
        "set a variable for all ranks; without a value it takes ours (the way for secrets)",
        "NAME[=VALUE]",
        kind="variables",
        inside=True,
    )
    # Modules that each node imports once, before its ranks are forked.
    preload: tuple[str, ...] = option(
        "--preload",
        WHAT,
        "import this once a node, beside torch, before ranks are forked",
        "MODULE",
        default=(),
        kind="texts",
        inside=True,
    )
    # "warm": ranks are forked from a process that has imported torch; "cold": each starts anew.
    start: Literal["warm", "cold"] = option(
        "--start",
        WHAT,
        "default: warm",
        default="warm",
        kind="choice",
        choices=("warm", "cold"),
        inside=True,
    )
    # The run's folder. Default: plaunch_runs/TIME-PROGRAM-JOB in the current folder.
    run_dir: str | None = option(
        "--run-dir", KEEP, "the run's folder; the same again continues a run", "DIR"
    )
    # Begin anew in the folder of an old run, whatever it holds.
    restart: bool = option(
        "--restart",
        KEEP,
        "begin anew in an old run folder",
        default=False,
        kind="flag",
        inside=True,
    )
    # A file that gets a copy of result.json.
    result_file: str | None = option(
        "--result", KEEP, "also write the result (JSON) to this file", "FILE", inside=True
    )
    # The job's time limit as SLURM writes it; a plain number is minutes. Default: the partition's.
    time: str | None = option(
        "--time",
        SLURM,
        "the job's limit: 90 (minutes), 2:00:00, 1-12 (days-hours)",
        "TIME",
    )
    # SLURM's partition, account and quality of service for the job. Default: SLURM's own.
    partition: str | None = option("--partition", SLURM, "where it is queued", "NAME")
    account: str | None = option("--account", SLURM, "who is charged", "NAME")
    qos: str | None = option("--qos", SLURM, "its quality of service", "NAME")
    # Queue the job again when it is preempted or reaches its limit, to go on from there.
    requeue: bool = option(
        "--requeue",
        SLURM,
        "when it is preempted, it is queued again and goes on",
        default=False,
        kind="flag",
    )
    # How long before the job's end its ranks are told to save, in seconds. Default: 120 if requeue.
    signal_lead_s: int | None = option(
        "--signal-lead",
        SLURM,
        "how long before its end the ranks are told to save (with --requeue: 120)",
        "SECONDS",
        kind="count",
    )
    # A job array's numbers.
    array: str | None = option(
        "--array",
        SLURM,
        "a job array: 0-7, 1,3,5 or 0-7%%2 (two at a time)",
        "SPEC",
        keyword=False,  # launch() has one result
    )
    # Further options for sbatch, as its own command line has them.
    sbatch: tuple[str, ...] = option(
        "--sbatch",
        SLURM,
        'further options for sbatch: --sbatch="--exclusive --constraint=a100"',
        "OPTIONS",
        default=(),
        kind="texts",
    )
    # Don't wait for the job.
    detach: bool = option(
        "--detach",
        SLURM,
        "print the job id, and don't wait for the job",
        default=False,
        kind="flag",
        keyword=False,  # that is submit()
    )
    # Submit a job of its own from inside an allocation, too.
    new_job: bool = option(
        "--new-job",
        SLURM,
        "inside an allocation: submit a job of its own from here, and leave that one alone",
        default=False,
        kind="flag",
    )


# Every option by its name in Python, in the order of the fields.
OPTIONS: dict[str, Option] = {one.name: one.metadata["option"] for one in fields(RunOptions)}


def values_of(options: RunOptions) -> dict[str, Any]:
    """All options by name."""
    return {name: getattr(options, name) for name in OPTIONS}


def is_given(options: RunOptions, name: str) -> bool:
    """Whether an option has another value than its default."""
    return bool(getattr(options, name) != getattr(_DEFAULTS, name))


def command_words(options: RunOptions, names: Iterable[str]) -> list[str]:
    """The words of a command line that say the same as these options; defaults are left out.

    Of a variable there is the name only: a value would be in a log then.
    """
    words: list[str] = []
    for name in names:
        if not is_given(options, name):
            continue
        word, value = OPTIONS[name].word, getattr(options, name)
        if OPTIONS[name].kind == "flag":
            words.append(word)
            continue
        for text in _texts(OPTIONS[name].kind, value):
            words += [f"{word}={text}"] if text.startswith("-") else [word, text]
    return words


def _texts(kind: Kind, value: Any) -> list[str]:
    if kind in ("texts", "variables"):
        return list(value)
    if kind == "nodes":
        least, most = value
        return [str(least) if least == most else f"{least}:{most}"]
    return [f"{value:g}" if kind == "seconds" else str(value)]


_DEFAULTS = RunOptions()
