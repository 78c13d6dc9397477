"""What a job is asked of SLURM with: the command line's words over the cluster file's. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.core.errors import UsageError
from launcher.core.job import RunOptions

if TYPE_CHECKING:
    from launcher.request.cluster_file import SlurmOptions

# The warning has to come early enough for a save; SLURM sends it up to a minute too early.
DEFAULT_LEAD_S = 120

_TIME = re.compile(r"\d+|\d+:\d+|\d+:\d+:\d+|\d+-\d+(:\d+){0,2}|UNLIMITED|INFINITE", re.I)
_TIME_HELP = (
    "write minutes (90), hours:minutes:seconds (2:00:00), days-hours (1-12), "
    "days-hours:minutes:seconds or UNLIMITED"
)
_ARRAY = re.compile(r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%[1-9]\d*)?")

MAX_INDEX = 4_000_000  # SLURM's own limit of MaxArraySize
MAX_TASKS = 10_000

# Options of sbatch that have a door of their own, or that would keep the job from being followed.
_NOT_HERE = {
    "--array": "use plaunch's own --array",
    "-a": "use plaunch's own --array",
    "--wrap": "plaunch writes the script",
    "--test-only": "use plaunch's own --dry-run",
    "--wait": "plaunch waits by itself",
    "-W": "plaunch waits by itself",
    "--parsable": "use plaunch's own --detach",
    "--output": "plaunch follows slurm-JOBID.out in the run's folder",
    "-o": "plaunch follows slurm-JOBID.out in the run's folder",
    "--error": "plaunch follows slurm-JOBID.err in the run's folder",
    "-e": "plaunch follows slurm-JOBID.err in the run's folder",
    "--export": "name the variables by plaunch's own --env",
    "--chdir": "set `workdir:` in the cluster file",
    "-D": "set `workdir:` in the cluster file",
}
_CHOOSES_GPUS = ("--gres", "--gpus", "--gpus-per-node", "--gpus-per-task")
_LONG = {
    "-A": "--account",
    "-c": "--cpus-per-task",
    "-G": "--gpus",
    "-b": "--begin",
    "-J": "--job-name",
    "-N": "--nodes",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
}


@dataclass(frozen=True)
class BatchOptions:
    """What stands in the ``#SBATCH`` lines, but for what the run's own options say.

    ``extra`` are the user's own words for sbatch, one line each.
    """

    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    requeue: bool = False
    signal_lead_s: int | None = None
    array: str | None = None
    extra: tuple[tuple[str, ...], ...] = ()

    @property
    def own(self) -> set[str]:
        """The options among them, by their long names: they stand instead of ours."""
        return {_LONG.get(name, name) for name in (_option(line[0]) for line in self.extra)}

    @property
    def asks_for_gpus(self) -> bool:
        """Whether the user's own words for sbatch say which GPUs the nodes must have."""
        return not self.own.isdisjoint(_CHOOSES_GPUS)

    @property
    def whole_nodes(self) -> bool:
        """Whether the nodes are asked for with all that they have."""
        return "--exclusive" in self.own


def merge(options: RunOptions, file: SlurmOptions) -> BatchOptions:
    """The request's options, and the cluster file's where it has none. Raises UsageError."""
    time = _text(options.time) or file.time
    if time is not None and not _TIME.fullmatch(time):
        raise UsageError(f"--time {time} is no time that SLURM knows: {_TIME_HELP}")
    if options.array is not None and not _ARRAY.fullmatch(options.array):
        raise UsageError(
            f"--array {options.array}: write numbers such as 0-7, 1,3,5 or 0-15:4, and %N behind "
            "them to run at most N at once (0-7%2)"
        )
    check_array(options.array or "0")
    lead = options.signal_lead_s or file.signal_lead_s
    if lead is not None and not 1 <= lead <= 65535:
        raise UsageError(f"--signal-lead {lead}: 1 to 65535 seconds are possible")
    return BatchOptions(
        time=time,
        partition=options.partition or file.partition,
        account=options.account or file.account,
        qos=options.qos,
        requeue=options.requeue,
        signal_lead_s=lead or (DEFAULT_LEAD_S if options.requeue else None),
        array=options.array,
        extra=tuple(directives([*file.sbatch, *_texts(options.sbatch)])),
    )


def check_array(text: str) -> None:
    """Refuse numbers that SLURM or we could not cope with. Raises UsageError."""
    size = 0
    for piece in text.partition("%")[0].split(","):
        text_range, _, step = piece.partition(":")
        first, _, last = text_range.partition("-")
        if max(map(len, (first, last, step))) > 9 or int(last or first) > MAX_INDEX:
            raise UsageError(f"--array {text}: a task's number is {MAX_INDEX} at most")
        if int(last or first) < int(first) or int(step or 1) == 0:
            raise UsageError(f"--array {text}: {piece} has no tasks; write it as 0-7 or 0-15:4")
        size += (int(last or first) - int(first)) // int(step or 1) + 1
    if size > MAX_TASKS:
        raise UsageError(f"--array {text}: {size} tasks; plaunch follows {MAX_TASKS} at most")


def directives(texts: Iterable[str]) -> list[tuple[str, ...]]:
    """The user's words for sbatch, an option and its value together. Raises UsageError."""
    lines: list[list[str]] = []
    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--sbatch {text!r}: {str(error).lower()}") from None
        if words and not words[0].startswith("-"):
            raise UsageError(f"--sbatch {text!r}: {words[0]!r} is no option of sbatch")
        for word in words:
            if word.startswith("-"):
                lines.append([word])
            elif len(lines[-1]) == 2 or "=" in lines[-1][0]:
                raise UsageError(f"--sbatch {text!r}: {word!r} is no option of sbatch")
            else:
                lines[-1].append(word)
    for line in lines:
        advice = _NOT_HERE.get(_option(line[0]))
        if advice is not None:
            raise UsageError(f"--sbatch {line[0]!r} can't be used here: {advice}")
    return [tuple(line) for line in lines]


def _option(word: str) -> str:
    """``--gres`` of ``--gres=gpu:2``, and ``-a`` of ``-a0-7``."""
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _text(value: object) -> str | None:
    """From Python, a time may be a number of minutes."""
    return None if value is None else str(value)


def _texts(value: str | Sequence[str]) -> Sequence[str]:
    """From Python, one option may be a plain text."""
    return (value,) if isinstance(value, str) else value
