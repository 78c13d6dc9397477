"""The table: for a terminal, for the README, and as data."""

from __future__ import annotations

import datetime
import glob
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.commands import HERE, PEERS
from benchmarks.rows import Row

RESULTS = HERE / "results.json"
TABLE = HERE / "RESULTS.md"
QUICK = HERE / "results" / "quick.json"
HEAD = ("what", "peer (median)", "ours (median)", "ratio", "target", "met?")
TEXT = """\
# Speed, measured beside the peers

{machine}. {versions}. Medians of {repeats} runs; both commands
alternate in one run. Made by `make bench` ({date}); all samples are in `results.json`.

{table}
{notes}"""


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    unit = row["unit"]
    peer = row["peer_text"] or _figure(row["peer_median"], unit)
    if row["peer_name"]:
        peer = f"{row['peer_name']}: {peer}"
    ours = _figure(row["our_median"], unit)
    if row["our_name"] != "plaunch" and row["ours"]:
        ours = f"{row['our_name']}: {ours}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    met = {True: "yes", False: "NO", None: "not measured"}[row["met"]]
    return row["what"], peer, ours, ratio, row["target"], met


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1000:.0f} ms" if value < 0.5 else f"{value:.2f} s"
    return f"{value:.0f} MiB" if unit == "MiB" else f"{value:.2f}"


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *(cells(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for a terminal."""
    lines = [HEAD, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def machine() -> str:
    """The machine, in no more words than the figures need."""
    rows = Path("/proc/meminfo").read_text().splitlines()
    memory = next(int(row.split()[1]) for row in rows if row.startswith("MemTotal"))
    cores = len(os.sched_getaffinity(0))
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    graphics = f"{gpus} GPUs" if gpus else "no GPU"
    return f"{cores} cores, {math.ceil(memory / (1 << 20))} GiB, {graphics}"


def versions() -> dict[str, str]:
    """What was compared."""
    found = {"python": platform.python_version(), "torch": version("torch")}
    if (PEERS / "python").exists():
        found |= {k: v for k, v in peers.versions().items() if k != "torch"}
    return found


def save(rows: Sequence[Row], failures: Sequence[str], repeats: int, *, whole: bool) -> Path:
    """Keep the figures; unless it was a ``whole`` run, beside those of other rows from before.

    A quick run is no measurement: it is kept apart and not committed.
    """
    data = {row.key: {**row.as_data(), "repeats": repeats} for row in rows}
    where = RESULTS if repeats > 1 else QUICK
    before: dict[str, Any] = {}
    if repeats > 1 and not whole and RESULTS.exists():
        before = json.loads(RESULTS.read_text())["rows"]
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    found = {
        "date": date,
        "machine": machine(),
        "versions": versions(),
        "rows": {**before, **{key: {**one, "date": date} for key, one in data.items()}},
        "not_measured": [failure.splitlines()[0] for failure in failures],
    }
    where.parent.mkdir(exist_ok=True)
    where.write_text(json.dumps(found, indent=1) + "\n")
    if repeats > 1:
        TABLE.write_text(_page(found, repeats))
    return where


def _page(whole: Mapping[str, Any], repeats: int) -> str:
    rows = list(whole["rows"].values())
    notes = [f"- {row['what']}: {row['note']}.\n" for row in rows if row["note"]]
    notes += [f"- Not measured: {failure}.\n" for failure in whole["not_measured"]]
    return TEXT.format(
        machine=whole["machine"],
        versions=", ".join(f"{name} {number}" for name, number in whole["versions"].items()),
        repeats=repeats,
        date=whole["date"],
        table=as_markdown(rows),
        notes="".join(notes),
    )
