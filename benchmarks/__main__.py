"""``python -m benchmarks [--quick] [name ...]``: measure, print one table, keep the figures."""

from __future__ import annotations

import argparse
import compileall
import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import peers, table
from benchmarks.rows import BenchError, Row, Rows

ROOT = Path(__file__).parents[1]
REPEATS = 5
FAMILIES = {
    "launch": "from the command to the first all-reduce and the first training step",
    "imports": "plaunch --help, import engine",
    "ssh": "four real hosts",
    "slurm": "inside an allocation of SLURM, on real hosts",
    "ray": "on a Ray cluster, on real hosts",
    "status": "plaunch status, while SLURM has one job and many",
    "step": "a training step over a plain loop's",
    "restart": "a rank dies",
    "memory": "what a rank weighs",
    "compat": "scripts of Lightning and Accelerate train under plaunch",
}
NEEDS_PEERS = {"launch", "imports", "ray", "step", "compat"}


def main() -> int:
    """Measure what was asked for; 1 if something could not be measured or does not train."""
    about = "\n".join(f"  {name:9} {what}" for name, what in FAMILIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"names:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="default: all")
    parser.add_argument("--quick", action="store_true", help="one repetition; a try, not a figure")
    options = parser.parse_args()
    if unknown := set(options.names) - set(FAMILIES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = [name for name in FAMILIES if name in (options.names or FAMILIES)]
    repeats = 1 if options.quick else REPEATS
    if NEEDS_PEERS & set(names):
        peers.make()
    for package in ("launcher", "engine"):  # as an installer does with the peers' packages
        compileall.compile_dir(str(ROOT / package), quiet=1)
    rows, failures = measure(names, repeats)
    print()
    print(table.as_text([row.as_data() for row in rows]))
    for row in rows:
        if row.note:
            print(f"  {row.what}: {row.note}")
    if rows:
        whole = not options.names
        print(f"\nkept in {table.save(rows, failures, repeats, whole=whole)}")
    for failure in failures:
        print(f"\nNOT MEASURED {failure}", file=sys.stderr)
    return 1 if failures else 0


def measure(names: list[str], repeats: int) -> tuple[list[Row], list[str]]:
    """All rows of the families, and what could not be measured."""
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        for step in steps(name, repeats):
            try:
                for row in step():
                    print(table.as_text([row.as_data()]).splitlines()[-1], flush=True)
                    rows.append(row)
            except BenchError as error:
                failures.append(f"{name}: {error}")
            except Exception:
                failures.append(f"{name}: {traceback.format_exc()}")
    return rows, failures


def steps(name: str, repeats: int) -> Iterator[Rows]:
    """The measurements of a family; if it can't begin, one that says so."""
    try:
        yield from importlib.import_module(f"benchmarks.{name}").rows(repeats)
    except Exception as error:
        problem = error if isinstance(error, BenchError) else BenchError(traceback.format_exc())

        def fail() -> Iterable[Row]:
            raise problem

        yield fail


if __name__ == "__main__":
    sys.exit(main())
