"""What a person sees: what the ranks print, our own words, and the end of a run.

The ranks' standard output goes to ours, their standard error and our own words to standard error.
Colour, and the changing last line of a progress bar, only on a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from launcher.core.console.interleave import REDRAW_S, Interleaver
from launcher.core.console.terminal import (
    PALETTE,
    RED,
    Filter,
    as_bytes,
    can_redraw,
    coloured,
    end_colours,
    one_line,
    paragraph,
    printable,
    wants_colour,
)
from launcher.core.console.traces import folded
from launcher.core.errors import NodeError
from launcher.core.job import Result, Verdict


class Output:
    """Writes to the terminal (or wherever the two streams go)."""

    def __init__(
        self,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        # A process that was started without these streams has none.
        self._out = stdout or sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as we live
        self._err = stderr or sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - as long as we live
        self._quiet, self._verbose = quiet, verbose
        terminals = {stream for stream in (self._out, self._err) if _is_terminal(stream)}
        both = self._out in terminals and self._err in terminals
        self._tty = can_redraw(os.environ, terminal=both)
        self._colours = wants_colour(os.environ, terminal=both)
        self._filters = {stream: Filter(moves=True) for stream in terminals}
        self._rank_filters: dict[tuple[int, bool], Filter] = {}
        self._prefixes: dict[int, str] = {}
        self._status = ""
        self._status_of = (0, 0.0)  # the rank whose bar is shown, and since when
        self._gone: set[TextIO] = set()
        bar = self._bar if self._tty else None
        shown = [Interleaver(self._write_of_rank, self._prefix, bar) for _ in range(2)]
        # Where both streams go to the same place, a line of one must not be begun within the other.
        self._one_place = _same_file(self._out, self._err)
        self._ranks = {False: shown[0], True: shown[0] if self._one_place else shown[1]}
        self._cut: dict[bool, TextIO | None] = {}  # where the only rank's line has no end yet

    @property
    def talk(self) -> str | None:
        """How much is said, as an option: ``--quiet``, ``--verbose``, or None for the usual."""
        if self._quiet:
            return "--quiet"
        return "--verbose" if self._verbose else None

    def name_ranks(self, nodes: Mapping[int, str]) -> None:
        """Tell which node each rank is on, for the prefixes; a world of one has none."""
        labels = {rank: f"[{one_line(node)}:{rank}]" for rank, node in nodes.items()}
        width = max(map(len, labels.values()), default=0)
        for rank in nodes:
            label = labels[rank].ljust(width)
            if self._colours:
                label = coloured(label, PALETTE[rank % len(PALETTE)])
            self._prefixes[rank] = label + " " if len(nodes) > 1 else ""

    def printed(self, rank: int, text: str, *, err: bool) -> None:
        """Show what a rank has written: as it is if it is the only one, else line by line.

        A terminal gets of it what it may have; see :class:`launcher.core.console.terminal.Filter`.
        """
        if not self._prefixes.get(rank):
            self.raw(text, err=err)
            return
        if (self._err if err else self._out) in self._filters:
            passed = self._rank_filters.setdefault((rank, err), Filter(moves=False))
            text = passed.feed(text)
        self._ranks[err].feed((rank, err), as_bytes(text), time.monotonic())

    def raw(self, text: str, *, err: bool) -> None:
        """Show what the only rank has written: as it is, or what a terminal may get of it."""
        stream = self._err if err else self._out
        passed = self._filters.get(stream)
        self._write(stream, text if passed is None else passed.feed(text))
        if text:
            self._cut[err or self._one_place] = None if text.endswith("\n") else stream

    def tick(self) -> None:
        """Show the lines that are unfinished for long enough; call it when :meth:`due` says so."""
        now = time.monotonic()
        for one in self._ranks.values():
            one.tick(now)

    def due(self) -> float | None:
        """When :meth:`tick` is to be called next (monotonic), if ever."""
        moments = [one.due() for one in self._ranks.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def ended(self, rank: int | None = None) -> None:
        """A rank (or all) has ended: its unfinished lines are finished."""
        for err, one in self._ranks.items():
            one.finish(None if rank is None else [(rank, err)])

    def _prefix(self, key: tuple[int, bool]) -> bytes:
        return as_bytes(self._prefixes.get(key[0], ""))

    def _write_of_rank(self, key: tuple[int, bool], data: bytes) -> None:
        stream = self._err if key[1] else self._out
        self._write(stream, end_colours(data) if stream in self._filters else data)

    def _bar(self, key: tuple[int, bool], state: bytes) -> None:
        """Show a bar's state on a terminal's last line: the first rank's that has one."""
        owner, since = self._status_of
        now = time.monotonic()
        if self._quiet or (key[0] > owner and now - since < 20 * REDRAW_S):
            return
        self._status_of = (key[0], now)
        self._end_lines(err=True)
        status = self._prefixes.get(key[0], "") + end_colours(state[:160]).decode(
            "utf-8", "replace"
        )
        self._write(self._err, status)
        self._status = status

    def _end_lines(self, *, err: bool) -> None:
        """Before something else is written to a stream: what stands there unfinished is ended."""
        self._ranks[err].end_line()
        stream = self._cut.pop(err or self._one_place, None)
        if stream is not None:
            self._write(stream, "\n")

    def stdout(self, text: str) -> None:
        """An answer that was asked for, such as a table or JSON, on standard output."""
        self._end_lines(err=False)
        self._write(self._out, printable(text))

    def say(self, text: str) -> None:
        """One line of our own."""
        if not self._quiet:
            self.block([f"plaunch: {text}"])

    def detail(self, text: str) -> None:
        """One line of our own that only ``--verbose`` shows."""
        if self._verbose:
            self.say(text)

    def error(self, text: str) -> None:
        """Our own words that ``--quiet`` does not silence."""
        self.block([f"plaunch: {text}"])

    def verdict(self, verdict: Verdict) -> None:
        """The block that ends a failed run, its first line in red."""
        first, *rest = map(paragraph, verdict_lines(verdict))
        first = coloured(first, RED) if self._colours else first
        self._end_lines(err=True)
        self._write(self._err, "".join(f"{line}\n" for line in (first, *rest)))

    def summary(self, lines: Sequence[str]) -> None:
        """The good end of a run, which ``--quiet`` leaves out."""
        if not self._quiet:
            self.block(lines)

    def block(self, lines: Sequence[str]) -> None:
        """Several lines that belong together, without prefixes."""
        self._end_lines(err=True)
        self._write(self._err, "".join(f"{paragraph(line)}\n" for line in lines))

    def _write(self, stream: TextIO, text: str | bytes) -> None:
        if stream in self._gone:
            return
        try:
            self._clear()
            _write_text(stream, text)
        except (OSError, ValueError):
            # ``plaunch ... | head``, or a full disk: the run goes on, its logs are in files.
            self._gone.add(stream)
            _let_go(stream)

    def _clear(self) -> None:
        if self._status:
            self._err.write("\r\033[K")
            self._status = ""


def _write_text(stream: TextIO, text: str | bytes) -> None:
    """Write text that may hold bytes that are no UTF-8 (as lone surrogates)."""
    data = text if isinstance(text, bytes) else as_bytes(text)
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode("utf-8", "replace"))
    else:
        stream.flush()
        buffer.write(data)
    stream.flush()


def _let_go(stream: TextIO) -> None:
    """Point a broken stream at nothing, so that the interpreter's last flush does not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(AttributeError, ValueError):
        return stream.isatty()
    return False


def _same_file(one: TextIO, other: TextIO) -> bool:
    """Whether two streams go to the same file, pipe or terminal."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    return False


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Columns aligned by spaces; the first row is the heading."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        .rstrip()
        for row in rows
    ]  # fmt: skip


def cause(verdict: Verdict) -> str:
    """What happened, in a few words."""
    if verdict.kind == "exception" and verdict.exception is not None:
        message = verdict.exception.message.strip().splitlines()
        return f"{verdict.exception.type}: {message[0]}" if message else verdict.exception.type
    if verdict.kind == "oom":
        return "killed by the kernel: the machine ran out of memory"
    if verdict.kind == "signal":
        return f"killed by signal {verdict.signal}"
    if verdict.kind == "lost_node":
        return f"the node was lost: {verdict.message}"
    if verdict.kind in ("start", "hang"):
        return verdict.message
    return f"exit code {verdict.exit_code}"


def ranks_in_words(ranks: Sequence[int]) -> str:
    """``0-2, 5``: runs of numbers folded."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def verdict_lines(verdict: Verdict) -> list[str]:
    """The block that ends a failed run: who, of what, the last words, and the victims."""
    lines = [f"plaunch: {who(verdict)} failed first{where(verdict)}: {cause(verdict)}"]
    if verdict.kind == "hang":
        lines = [f"plaunch: {verdict.message}"]
    if verdict.kind == "exception" and verdict.exception is not None:
        lines += ["  " + row for row in folded(verdict.exception.traceback.rstrip())]
        lines += [f"  {hint}" for hint in hints(verdict.exception.message)]
    elif verdict.stack:
        lines += ["  " + row for row in folded(verdict.stack)]
    if verdict.last_lines and verdict.kind != "exception":
        count = len(verdict.last_lines)
        kept = f" (15 of {count} that are kept)" if count > 15 else ""
        lines.append(f"  its last {'lines' if count > 1 else 'line'}{kept}:")
        lines += ["  | " + row for row in verdict.last_lines[-15:]]
    if len(verdict.ranks) > 1:
        lines.append(f"  the same on each; the first was rank {verdict.rank} on {verdict.node}")
    if verdict.kind == "start":
        lines += [f"  {hint}" for hint in hints(verdict.message)]
    if verdict.message and verdict.kind not in ("lost_node", "start", "hang"):
        lines.append(f"  {verdict.message}")
    if verdict.victims:
        plural = "s" if len(verdict.victims) > 1 else ""
        lines.append(f"  rank{plural} {ranks_in_words(verdict.victims)}: ended because of it")
    return lines


def who(verdict: Verdict) -> str:
    """The rank that failed first, and those that failed of the same error by themselves."""
    if verdict.rank is None:
        return f"node {verdict.node}"
    if len(verdict.ranks) > 1:
        return f"ranks {ranks_in_words(verdict.ranks)}"
    return f"rank {verdict.rank} on {verdict.node}"


def where(verdict: Verdict) -> str:
    """The step at which it failed, or the last one that is known."""
    if verdict.step is not None:
        return f" at step {verdict.step}"
    return "" if verdict.last_step is None else f" (step {verdict.last_step} was the last reported)"


def hints(message: str) -> list[str]:
    """What an exception's message calls for, where we have it."""
    if "Too many open files" in message:
        return ["raise the limit of open files before plaunch, such as: ulimit -n 4096"]
    missing = re.fullmatch(r"No module named '(pytorch_lightning|lightning)(\.\S*)?'", message)
    if missing is None:
        return []
    return [f"code that imports {missing[1]} runs on engine: plaunch --compat {missing[1]} ..."]


def result_lines(result: Result) -> list[str]:
    """The end of a run at a glance."""
    nodes = len(result.nodes)
    what = f"{_several(result.world_size, 'rank')} on {_several(nodes, 'node')}"
    tries = f", {result.attempts} attempts" if result.attempts > 1 else ""
    message = f"; {result.message}" if result.message else ""
    lines = [f"plaunch: {result.state} in {result.seconds:.1f} s ({what}{tries}){message}"]
    shown = result.ranks[0].value if result.ranks else None
    if isinstance(shown, dict):
        lines += [f"  {line}" for line in value_lines(shown)]
    elif shown is not None:
        lines.append(f"  rank 0 returned {str(shown)[:200]}")
    lines.append(f"  {result.run_dir}")
    return lines


def value_lines(value: Mapping[str, object]) -> list[str]:
    """What rank 0 reported, briefly: test results first, then validation, then the rest."""
    numbers = {
        key: found
        for key, found in value.items()
        if isinstance(found, (int, float, str)) and not key.endswith(("_step", "_epoch"))
    }
    order = sorted(numbers, key=lambda key: (not key.startswith("test"), not key.startswith("val")))
    lines = ["  ".join(f"{key}={_short(numbers[key])}" for key in order)] if numbers else []
    engine = value.get("engine")
    if isinstance(engine, dict):
        best, last = engine.get("best_model_path"), engine.get("last_model_path")
        if best and engine.get("monitor"):
            lines.append(f"best checkpoint ({engine['monitor']}): {best}")
        elif best or last:
            lines.append(f"last checkpoint: {best or last}")
    return lines


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def problem_lines(
    problems: Sequence[NodeError], head: str = "the cluster is not as asked; nothing was started"
) -> list[str]:
    """All problems of all nodes as one table."""
    rows = [("NODE", "PROBLEM", "WHAT TO DO")]
    rows += [(error.node, error.problem, error.advice) for error in problems]
    return [f"plaunch: {head}", *table(rows)]
