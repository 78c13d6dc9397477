"""Which tests `make test-quick` leaves out: those that took long in a run of all.

    make test ARGS=--junitxml=run.xml && .venv/bin/python -m tests.slow run.xml

writes tests/slow.txt anew, a line for each: the file and the test's name, without its cases.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).with_name("slow.txt")
LONG_S = 0.5  # all cases of a test together


def slow() -> frozenset[str]:
    """The tests that are listed."""
    return frozenset(LIST.read_text().split())


def measured(report: Path) -> list[str]:
    """The tests that took long by a report in JUnit's format."""
    seconds: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.attrib["classname"].replace(".", "/") + ".py"
        name = f"{file}::{case.attrib['name'].partition('[')[0]}"
        seconds[name] += float(case.attrib["time"])  # type: ignore[assignment]  # of seconds
    return sorted(name for name, taken in seconds.items() if taken > LONG_S)


if __name__ == "__main__":
    LIST.write_text("\n".join(measured(Path(sys.argv[1]))) + "\n")
