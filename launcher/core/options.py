"""How every option of a run is written, once; what each means is said at `RunOptions`' fields.

The command line's options, the keywords of ``launch()`` and ``submit()``, the command in a batch
script and the one that resumes a run are made of this table. It is loaded by ``plaunch --help``,
so it takes no dataclass: that would import ``inspect``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

# What a value is: on the command line, and from Python.
Kind = Literal[
    "text", "texts", "flag", "choice", "count", "number", "ranks", "seconds", "nodes", "variables"
]
WHERE, RAY, WHAT = "where", "on Ray", "what"
WHEN, KEEP = "when something goes wrong", "what is kept"
SLURM = "on SLURM, outside an allocation"


class Option(NamedTuple):
    """How an option is written.

    Attributes:
        words: Its names on the command line, the first of them the one in messages and commands.
        group: Its heading in ``--help``.
        help: Its line in ``--help``.
        metavar: What stands for its value there.
        kind: What its value is.
        choices: All that it can be, of an option of that kind.
        keyword: Whether it is a keyword of ``launch()``, too.
        inside: Whether it stands in the command that a job of SLURM's runs, for it says how to run
            and not where.
    """

    words: tuple[str, ...]
    group: str
    help: str
    metavar: str | None = None
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    keyword: bool = True
    inside: bool = False

    @property
    def word(self) -> str:
        """The name in messages and in commands."""
        return self.words[0]


# By the names of the fields of `RunOptions`, and in the order in which a command has them.
OPTIONS: dict[str, Option] = {
    "cluster": Option(
        ("--cluster",),
        WHERE,
        "local, ssh, slurm, ray, or a cluster file (YAML)",
        metavar="KIND|FILE",
    ),
    "hosts": Option(("--hosts",), WHERE, "SSH hosts: h1,h[2-4],user@h5:2222", metavar="LIST"),
    "nodes": Option(
        ("--nodes", "--nnodes"),
        WHERE,
        "how many nodes (default: 1 locally, else all)",
        metavar="N|MIN:MAX",
        kind="nodes",
        inside=True,
    ),
    "gpus": Option(
        ("--gpus",),
        WHAT,
        "GPUs of each node: a number, all, free ones, a list (3, is the GPU "
        "3), or h1:LIST;h2:LIST; 0 is CPU",
        metavar="N|all|free[:N]|LIST",
        inside=True,
    ),
    "procs": Option(
        ("--procs", "--nproc-per-node", "--nproc_per_node"),
        WHAT,
        "ranks on each node; cpu: one a core (default: one a GPU, or one)",
        metavar="N",
        kind="ranks",
        inside=True,
    ),
    "max_restarts": Option(
        ("--max-restarts", "--max_restarts"),
        WHEN,
        "default: 0",
        metavar="N",
        kind="number",
        inside=True,
    ),
    "grace_s": Option(
        ("--grace",),
        WHEN,
        "to end after Ctrl-C or SIGTERM (30)",
        metavar="SECONDS",
        kind="seconds",
        inside=True,
    ),
    "failure_grace_s": Option(
        ("--failure-grace",),
        WHEN,
        "for the healthy ranks to end after one has failed (5); 0: killed at once",
        metavar="SECONDS",
        kind="seconds",
        inside=True,
    ),
    "timeout_s": Option(
        ("--timeout",), WHEN, "of the whole run", metavar="SECONDS", kind="seconds", inside=True
    ),
    "wait_s": Option(
        ("--wait",), RAY, "for the resources to be free (60)", metavar="SECONDS", kind="seconds"
    ),
    "env": Option(
        ("--env",),
        WHAT,
        "set a variable for all ranks; without a value it takes ours (the way for secrets)",
        metavar="NAME[=VALUE]",
        kind="variables",
        inside=True,
    ),
    "preload": Option(
        ("--preload",),
        WHAT,
        "import this once a node, beside torch, before ranks are forked",
        metavar="MODULE",
        kind="texts",
        inside=True,
    ),
    "start": Option(
        ("--start",), WHAT, "default: warm", kind="choice", choices=("warm", "cold"), inside=True
    ),
    "run_dir": Option(
        ("--run-dir",), KEEP, "the run's folder; the same again continues a run", metavar="DIR"
    ),
    "restart": Option(
        ("--restart",), KEEP, "begin anew in an old run folder", kind="flag", inside=True
    ),
    "result_file": Option(
        ("--result",),
        KEEP,
        "also write the result (JSON) to this file",
        metavar="FILE",
        inside=True,
    ),
    "time": Option(
        ("--time",),
        SLURM,
        "the job's limit: 90 (minutes), 2:00:00, 1-12 (days-hours)",
        metavar="TIME",
    ),
    "partition": Option(("--partition",), SLURM, "where it is queued", metavar="NAME"),
    "account": Option(("--account",), SLURM, "who is charged", metavar="NAME"),
    "qos": Option(("--qos",), SLURM, "its quality of service", metavar="NAME"),
    "requeue": Option(
        ("--requeue",), SLURM, "when it is preempted, it is queued again and goes on", kind="flag"
    ),
    "signal_lead_s": Option(
        ("--signal-lead",),
        SLURM,
        "how long before its end the ranks are told to save (with --requeue: 120)",
        metavar="SECONDS",
        kind="count",
    ),
    "array": Option(
        ("--array",),
        SLURM,
        "a job array: 0-7, 1,3,5 or 0-7%%2 (two at a time)",
        metavar="SPEC",
        keyword=False,
    ),
    "sbatch": Option(
        ("--sbatch",),
        SLURM,
        'further options for sbatch: --sbatch="--exclusive --constraint=a100"',
        metavar="OPTIONS",
        kind="texts",
    ),
    "detach": Option(
        ("--detach",),
        SLURM,
        "print the job id, and don't wait for the job",
        kind="flag",
        keyword=False,
    ),
    "new_job": Option(
        ("--new-job",),
        SLURM,
        "inside an allocation: submit a job of its own from here, and leave that one alone",
        kind="flag",
    ),
}
