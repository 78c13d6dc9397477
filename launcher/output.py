"""What a person sees: the ranks' lines, our own words, and the end of a run.

The ranks' standard output goes to ours, their standard error and our own words to standard error.
Colour, and the changing last line of a progress bar, only on a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from launcher.clusters.base import NodeError
from launcher.job import Result, Verdict

COLOURS = (36, 33, 35, 32, 34, 31)


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
        self._tty = _is_terminal(self._err) and _is_terminal(self._out)
        self._prefixes: dict[int, str] = {}
        self._status = ""
        self._gone: set[TextIO] = set()

    @property
    def talk(self) -> str | None:
        """How much is said, as an option: ``--quiet``, ``--verbose``, or None for the usual."""
        if self._quiet:
            return "--quiet"
        return "--verbose" if self._verbose else None

    def name_ranks(self, nodes: Mapping[int, str]) -> None:
        """Tell which node each rank is on, for the prefixes; a world of one has none."""
        width = max((len(f"{node}:{rank}") for rank, node in nodes.items()), default=0)
        for rank, node in nodes.items():
            label = f"[{node}:{rank}]".ljust(width + 2)
            if self._tty:
                label = f"\033[{COLOURS[rank % len(COLOURS)]}m{label}\033[0m"
            self._prefixes[rank] = label + " " if len(nodes) > 1 else ""

    def lines(self, rank: int, lines: Sequence[str], *, err: bool) -> None:
        """Print whole lines of one rank."""
        prefix = self._prefixes.get(rank, "")
        text = "".join(f"{prefix}{line}\n" for line in lines)
        self._write(self._err if err else self._out, text)

    def raw(self, text: str, *, err: bool) -> None:
        """Print what the only rank has written, as it is."""
        self._write(self._err if err else self._out, text)

    def transient(self, rank: int, text: str) -> None:
        """Show a progress bar's state of rank 0 on a terminal's last line."""
        if self._tty and rank == 0 and not self._quiet:
            status = (self._prefixes.get(rank, "") + text)[:200]
            self._write(self._err, status)
            self._status = status

    def stdout(self, text: str) -> None:
        """An answer that was asked for, such as a table, on standard output."""
        self._write(self._out, text)

    def say(self, text: str) -> None:
        """One line of our own."""
        if not self._quiet:
            self._write(self._err, f"plaunch: {text}\n")

    def detail(self, text: str) -> None:
        """One line of our own that only ``--verbose`` shows."""
        if self._verbose:
            self.say(text)

    def error(self, text: str) -> None:
        """Our own words that ``--quiet`` does not silence."""
        self._write(self._err, f"plaunch: {text}\n")

    def summary(self, lines: Sequence[str]) -> None:
        """The good end of a run, which ``--quiet`` leaves out."""
        if not self._quiet:
            self.block(lines)

    def block(self, lines: Sequence[str]) -> None:
        """Several lines that belong together, without prefixes."""
        self._write(self._err, "".join(f"{line}\n" for line in lines))

    def _write(self, stream: TextIO, text: str) -> None:
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


def _write_text(stream: TextIO, text: str) -> None:
    """Write text that may hold bytes that are no UTF-8 (as lone surrogates)."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    else:
        stream.flush()
        buffer.write(text.encode("utf-8", "surrogateescape"))
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


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Columns aligned by spaces; the first row is the heading."""
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
    who = (
        f"node {verdict.node}" if verdict.rank is None else f"rank {verdict.rank} on {verdict.node}"
    )
    at = f" at step {verdict.step}" if verdict.step is not None else ""
    lines = [f"plaunch: {who} failed first{at}: {cause(verdict)}"]
    if verdict.kind == "hang":
        lines = [f"plaunch: {verdict.message}"]
    if verdict.kind == "exception" and verdict.exception is not None:
        lines += ["  " + row for row in verdict.exception.traceback.rstrip().splitlines()]
        lines += [f"  {hint}" for hint in hints(verdict.exception.message)]
    elif verdict.last_lines:
        lines.append(f"  its last lines (of {len(verdict.last_lines)} kept):")
        lines += ["  | " + row for row in verdict.last_lines[-15:]]
    if verdict.message and verdict.kind not in ("lost_node", "start", "hang"):
        lines.append(f"  {verdict.message}")
    if verdict.victims:
        plural = "s" if len(verdict.victims) > 1 else ""
        lines.append(f"  rank{plural} {ranks_in_words(verdict.victims)}: ended because of it")
    return lines


def hints(message: str) -> list[str]:
    """What an exception's message calls for, where we have it."""
    missing = re.fullmatch(r"No module named '(pytorch_lightning|lightning)(\.\S*)?'", message)
    if missing is None:
        return []
    return [f"code that imports {missing[1]} runs on engine: plaunch --compat {missing[1]} ..."]


def result_lines(result: Result) -> list[str]:
    """The end of a run at a glance."""
    nodes = len(result.nodes)
    what = f"{_several(result.world_size, 'rank')} on {_several(nodes, 'node')}"
    tries = f", {result.attempts} attempts" if result.attempts > 1 else ""
    lines = [f"plaunch: {result.state} in {result.seconds:.1f} s ({what}{tries})"]
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
    if isinstance(engine, dict) and engine.get("best_model_path"):
        lines.append(f"best checkpoint: {engine['best_model_path']}")
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
