"""``plaunch logs``: what the ranks of a job have printed, and go on to print."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher.batch import states
from launcher.batch.states import JobStatus
from launcher.core.console.console import Output, ranks_in_words
from launcher.core.console.interleave import Interleaver, is_bar, latest_state, unfinished_state
from launcher.core.console.terminal import Filter, as_bytes, end_colours
from launcher.core.errors import UsageError
from launcher.core.exit_codes import NOT_AS_ASKED
from launcher.rundir.files import open_to_read
from launcher.rundir.index import Entry
from launcher.rundir.snapshot import snapshot
from launcher.rundir.tail import Tail

TICK_S = 0.1
LOOK_S = 1.0  # between two looks at the run folder
ASK_S = 5.0  # between two questions to SLURM
LONGEST_LINE = 1 << 20  # as JSON: a longer one is cut
FINAL = ("succeeded", "failed", "cancelled")  # a preempted one may come back


def logs(
    word: str,
    output: Output,
    *,
    rank: int | None,
    follow: bool,
    tail: int | None,
    as_json: bool,
) -> int:
    """Print a job's logs; with ``follow`` until it is over. Raises UsageError, SlurmError."""
    entry = one_entry(word)
    reader = Reader(Path(entry.run_dir), rank, tail, as_json=as_json)
    try:
        if follow:
            return _follow(entry, reader, output)
        reader.print_new()
        reader.finish()
        if reader.empty:
            return _instead(entry, reader, output)
        return 0
    except BrokenPipeError:  # ``plaunch logs ... | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def one_entry(word: str) -> Entry:
    """The only run that a word means. Raises UsageError, SlurmError."""
    found = states.with_tasks(states.find(word))
    if len(found) > 1:  # a submission that has become tasks, or a run, has no logs of its own
        found = [entry for entry in found if os.path.isdir(entry.run_dir)] or found[:1]
    if len(found) == 1:
        return found[0]
    names = [name for entry in found if (name := _name(entry, word))]
    raise UsageError(f"{word} means {len(found)} runs: say which: {', '.join(names[:8])}")


def _name(entry: Entry, word: str) -> str | None:
    return entry.slurm if entry.slurm not in (None, word) else entry.job_id


class Reader:
    """Prints what is new in the logs of some ranks."""

    def __init__(self, run_dir: Path, rank: int | None, tail: int | None, *, as_json: bool) -> None:
        self.folder = run_dir / "logs"
        self.rank, self._tail_lines, self._json = rank, tail, as_json
        self._tails: dict[int, Tail] = {}
        self._lines: Interleaver[int] = Interleaver(self._write, lambda rank: b"[rank %d] " % rank)
        self._open: dict[int, bytes] = {}  # as JSON: lines that have no end yet
        self._one: bool | None = None
        self._terminal = sys.stdout.isatty()
        self._filters: dict[int, Filter] = {}
        self.empty = True

    @property
    def ranks(self) -> list[int]:
        """All ranks that have a log."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        found = [re.fullmatch(r"rank(\d+)\.log", name) for name in names]
        return sorted(int(match[1]) for match in found if match)

    def print_new(self) -> bool:
        """Print what was written since the last time; whether there was anything.

        A line that is unfinished for a moment is printed, too.
        """
        news = False
        for rank in self.ranks if self.rank is None else [self.rank]:
            if rank not in self._tails:
                path = self.folder / f"rank{rank}.log"
                start = 0 if self._tail_lines is None else start_of_last(path, self._tail_lines)
                self._tails[rank] = Tail(path, start)
            while data := self._tails[rank].read():
                news = True
                self._print(rank, data)
        self._lines.tick(time.monotonic())
        self.empty = self.empty and not news
        sys.stdout.buffer.flush()
        return news

    def finish(self) -> None:
        """Print last lines that have no end."""
        for rank, rest in self._open.items():
            if rest:
                _write_json(rank, rest)
        self._open.clear()
        self._lines.finish()
        sys.stdout.buffer.flush()

    @property
    def _is_one(self) -> bool:
        """Whether there is one rank only to be shown."""
        if self._one is None:
            self._one = self.rank is not None or snapshot(self.folder.parent).world_size == 1
        return self._one

    def _print(self, rank: int, data: bytes) -> None:
        if not self._json:
            if self._terminal:
                one = self._filters.setdefault(rank, Filter(moves=self._is_one))
                data = as_bytes(one.feed(data.decode("utf-8", "surrogateescape")))
            if self._is_one:
                sys.stdout.buffer.write(data)  # progress bars and prompts as they are
            else:
                self._lines.feed(rank, data, time.monotonic())
            return
        *lines, rest = (self._open.get(rank, b"") + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._open[rank] = unfinished_state(rest) if is_bar(rest) else rest
        for line in lines:
            _write_json(rank, line)

    def _write(self, _: int, data: bytes) -> None:
        sys.stdout.buffer.write(end_colours(data) if self._terminal else data)


def _write_json(rank: int, line: bytes) -> None:
    text = latest_state(line).decode("utf-8", "replace")
    sys.stdout.buffer.write(json.dumps({"rank": rank, "line": text}).encode() + b"\n")


def start_of_last(path: Path, count: int) -> int:
    """Where the last ``count`` lines of a file begin."""
    try:
        with open_to_read(path) as fd, open(fd, "rb", closefd=False) as file:
            position = end = file.seek(0, os.SEEK_END)
            found = 0
            while position > 0:
                size = min(1 << 16, position)
                position -= size
                file.seek(position)
                block = file.read(size)
                for index in range(len(block) - 1, -1, -1):
                    if block[index] == 10 and position + index != end - 1:
                        found += 1
                        if found == count:
                            return position + index + 1
            return end if count == 0 else 0
    except OSError:
        return 0


def _instead(entry: Entry, reader: Reader, output: Output) -> int:
    """No rank has printed anything: say why, and show what SLURM has kept."""
    if reader.rank is not None and reader.ranks and reader.rank not in reader.ranks:
        raise UsageError(
            f"rank {reader.rank} has no log: there are those of ranks "
            f"{ranks_in_words(reader.ranks)}"
        )
    jobs, problem = states.job_states([entry], details=True)
    for job in jobs:
        _slurm_files(job)
        output.say(f"{job.name}: {job.text}; no rank has printed anything")
    if problem is not None:
        output.error(problem)
        return NOT_AS_ASKED
    return 0


def _slurm_files(job: JobStatus) -> None:
    """What the job itself has printed: why it did not get as far as its ranks."""
    slurm = job.slurm
    out = job.entry.out or (slurm.out if slurm else None)
    err = job.entry.err or (slurm.err if slurm else None)
    for path, stream in ((out, sys.stdout), (err if err != out else None, sys.stderr)):
        if path:
            file, passed = Tail(Path(path)), Filter(moves=True)
            while data := file.read():
                if stream.isatty():
                    data = as_bytes(passed.feed(data.decode("utf-8", "surrogateescape")))
                stream.buffer.write(data)
            stream.flush()


def _follow(entry: Entry, reader: Reader, output: Output) -> int:
    """Print until the job is over, and tell how it ended."""
    for seen in _states(entry, reader.print_new, output):
        job = seen
    while reader.print_new():
        pass
    reader.finish()
    if reader.empty:
        _slurm_files(job)
    output.say(f"{job.name}: {job.text}")
    return 0


def _states(entry: Entry, work: Callable[[], bool], output: Output) -> Iterator[JobStatus]:
    """The job's state again and again until it is over; ``work`` is done all the time."""
    shown = ""
    while True:
        jobs, problem = _ask_state(entry, work)
        job = jobs[0]
        yield job
        if job.over and (problem is None or _is_final(entry, job)):
            return
        words = problem and f"{problem}; going on by the run folder"
        words = words or (job.text if not job.over and job.state != "running" else "")
        if words and words != shown:
            output.say(f"{job.name}: {words}")
        shown = words or shown
        again = time.monotonic() + (LOOK_S if entry.slurm is None else ASK_S)
        next_look = time.monotonic() + LOOK_S
        while time.monotonic() < again:
            if not work():
                time.sleep(TICK_S)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_S
                if _has_ended(entry):
                    break


def _ask_state(entry: Entry, work: Callable[[], bool]) -> tuple[list[JobStatus], str | None]:
    """The job's state; SLURM may take long to answer, and ``work`` goes on meanwhile."""
    if entry.slurm is None:
        return states.job_states([entry])
    answers: list[tuple[list[JobStatus], str | None]] = []
    # no pool: leaving one would wait for SLURM, after a Ctrl-C as well
    asking = threading.Thread(
        target=lambda: answers.append(states.job_states([entry])), daemon=True
    )
    asking.start()
    while asking.is_alive():
        if not work():
            asking.join(TICK_S)
    return answers[0] if answers else states.job_states([entry])


def _is_final(entry: Entry, job: JobStatus) -> bool:
    """Whether the run's own result is the end, whatever SLURM would say."""
    return job.state in FINAL or entry.slurm is None


def _has_ended(entry: Entry) -> bool:
    """Whether the run has written its last result, so that SLURM is worth a question at once."""
    return entry.slurm is not None and snapshot(entry.run_dir).state in FINAL
