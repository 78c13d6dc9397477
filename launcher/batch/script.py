"""A run as a batch script for SLURM: the same request gives the same bytes. Pure.

No value of a variable stands in it: they travel in sbatch's own environment, and the script names
them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace

from launcher.batch.options import BatchOptions
from launcher.core.errors import UsageError
from launcher.core.job import Program, RunOptions
from launcher.core.options import OPTIONS
from launcher.request.words import command_words

WHY = """\
# plaunch has written this script.
# exec: the batch process is plaunch itself, so SLURM's signals reach it (bash loses some of them).
# sys.path: a plaunch.py or queue.py of your own in this folder must not be taken for plaunch's."""
START = (
    "import sys; sys.path = [p for p in sys.path if p]; "
    "from plaunch.command import main; sys.exit(main())"
)

FIRST_LINE = ("nodes", "gpus", "procs")  # of the command, beside the cluster

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./^~\[\]-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Request:
    """All that the script depends on.

    ``run`` is the request as the user made it, ``env_names`` are the variables that all ranks get
    (values are the environment's), ``workdir`` is the cluster file's, ``function_file`` holds the
    pickled function for a program of that kind. ``talk`` is ``--quiet``, ``--verbose`` or None.
    """

    run: RunOptions
    program: Program
    python: str
    options: BatchOptions = field(default_factory=BatchOptions)
    workdir: str | None = None
    env_names: tuple[str, ...] = ()
    function_file: str | None = None
    talk: str | None = None


def render(request: Request) -> str:
    """The whole script. Raises UsageError for what can't stand in one."""
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH {directive}" for directive in directives(request)]
    lines += ["", WHY, _command(request)]
    return "\n".join(lines) + "\n"


def job_name(program: Program) -> str:
    """What the job and its run folder are called: the program's name in plain letters."""
    last = program.target.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-.")[:40] or "run"


def run_dir(request: Request, job: str, task: int | None = None) -> str:
    """The run's folder, seen from the work folder, of a job (and of a task, in an array)."""
    own = request.run.run_dir
    if own is not None:
        return own if task is None else f"{own}/{task}"
    name = job_name(request.program)
    return f"plaunch_runs/{name}-{job}" if task is None else f"plaunch_runs/{name}-{job}_{task}"


def output_files(options: BatchOptions) -> tuple[str, str]:
    """SLURM's files of what a job prints, as SLURM's patterns, seen from the work folder."""
    number = "%A_%a" if options.array else "%j"
    return f"slurm-{number}.out", f"slurm-{number}.err"


def directives(request: Request) -> list[str]:
    """What stands behind ``#SBATCH``, in its order. Raises UsageError."""
    run, options = request.run, request.options
    least, most = run.nodes or (1, 1)
    gpus = _num_gpus(run.gpus, options)
    out, err = output_files(options)
    values: dict[str, object] = {
        "job-name": job_name(request.program),
        "nodes": least if least == most else f"{least}-{most}",
        "ntasks-per-node": 1,  # plaunch starts the ranks itself
        "gpus-per-node": gpus or None,
        # With GPUs the site's own number of cores for each is the better one.
        "cpus-per-task": run.procs if run.gpus in (None, "0") else None,
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "chdir": request.workdir if request.workdir != "." else None,
        "output": out,
        "error": err,
        "open-mode": "append",
        "requeue": options.requeue,
        "signal": f"B:USR2@{options.signal_lead_s}" if options.signal_lead_s else None,
        "array": options.array,
    }
    lines = []
    for name, value in values.items():
        if f"--{name}" in options.own:
            continue
        if value is True:
            lines.append(f"--{name}")
        elif value is not None and value is not False:
            lines.append(f"--{name}={_directive_word(str(value), f'--{name}')}")
    for words in options.extra:
        lines.append(" ".join(_directive_word(word, "--sbatch") for word in words))
    return lines


def _num_gpus(text: str | None, options: BatchOptions) -> int | None:
    """How many GPUs of each node to ask SLURM for; None if the user's own words say so."""
    if text is None or options.asks_for_gpus:
        return None
    if text.isdigit():
        return int(text)
    kind, _, count = text.partition(":")
    if kind == "free" and count.isdigit():
        return int(count)
    if text in ("all", "free") and options.whole_nodes:
        return None
    if text in ("all", "free"):
        raise UsageError(
            f"--gpus {text}: SLURM has to know how many: --gpus 8, or say it to sbatch yourself, "
            "such as --sbatch=--exclusive or --sbatch=--gres=gpu:a100:8"
        )
    raise UsageError(f"--gpus {text}: SLURM chooses the GPUs, so give their number (--gpus 8)")


def _command(request: Request) -> str:
    """The only line that does something, over several."""
    start = ["exec", bash_word(request.python), "-c", bash_word(START)]
    parts = [start, *_options(request), _program(request)]
    return " \\\n    ".join(" ".join(words) for words in parts)


def _options(request: Request) -> list[list[str]]:
    """The words of plaunch inside the job, for bash; one list a line."""
    run = replace(
        request.run,
        env=dict.fromkeys(request.env_names, ""),
        result_file=None if request.options.array else request.run.result_file,
    )
    first = ["--cluster", "slurm", *command_words(run, FIRST_LINE)]
    inside = [name for name, one in OPTIONS.items() if one.inside and name not in FIRST_LINE]
    second = command_words(run, inside)
    if request.talk is not None:
        second.append(request.talk)
    lines = [[bash_word(word) for word in words] for words in (first, second) if words]
    return [*lines, ["--run-dir", _run_dir_word(request)]]


def _run_dir_word(request: Request) -> str:
    """The run's folder by the job's number, which bash fills in: a requeued job keeps its own."""
    own, array = request.run.run_dir, bool(request.options.array)
    if own is None:
        number = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if array else "$SLURM_JOB_ID"
        return f'"plaunch_runs/{job_name(request.program)}-{number}"'
    word = bash_word(f"./{own}" if own.startswith("-") else own)
    return f'{word}"/$SLURM_ARRAY_TASK_ID"' if array else word


def _program(request: Request) -> list[str]:
    program = request.program
    words = [] if program.compat is None else ["--compat", program.compat]
    if program.kind == "function":
        words += ["--function", request.function_file or ""]
    elif program.kind != "script":
        words.append("-m" if program.kind == "module" else "--no-python")
    if program.target.startswith("-"):
        words.append("--")
    return [bash_word(word) for word in (*words, program.target, *program.args)]


def bash_word(text: str) -> str:
    """One word for bash; line breaks and the like as escapes, so that a command stays readable."""
    if "\0" in text:
        raise UsageError(f"{text!r}: a word of a command can't hold a NUL character")
    if not _CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped) + "'"


def _directive_word(text: str, option: str) -> str:
    """One word for sbatch, which knows double quotes and backslashes, but no line breaks."""
    if _CONTROL.search(text):
        raise UsageError(f"{option} {text!r}: a line for sbatch can't hold control characters")
    if _PLAIN.fullmatch(text):
        return text
    if text.startswith("--") and "=" in text:
        name, _, value = text.partition("=")
        if _PLAIN.fullmatch(name):
            return f"{name}={_directive_word(value, option)}"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
