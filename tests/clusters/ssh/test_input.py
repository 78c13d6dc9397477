"""Standard input of a rank on another host."""

from __future__ import annotations

import pytest

from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

LOOP = """
while read -r turn; do
    echo "turn $turn"
    plaunch --quiet --run-dir "/shared/input-$turn" --hosts host1 --procs 1 --start cold --restart \
        /shared/input.py "$turn"
done
"""
MAIN = """
import os, sys
if sys.argv[1] == "two": print("read", os.read(0, 6).decode(), end="", flush=True)
if sys.argv[1] == "four": print("read", ascii(sys.stdin.read()))
"""


@pytest.mark.parametrize("kind", ["< /shared/list sh", "cat /shared/list | sh"])
def test_a_rank_elsewhere_takes_only_what_it_reads(testbed: Testbed, kind: str) -> None:
    """A loop around plaunch goes on with the line after those that its ranks have read."""
    (testbed.shared / "input.py").write_text(MAIN)
    (testbed.shared / "list").write_text("one\ntwo\nthree\nfour\nfive\nsix\n")
    (testbed.shared / "loop.sh").write_text(LOOP)
    done = testbed.call("host0", ["sh", "-c", f"{kind} /shared/loop.sh"], cwd="/shared")
    expected = "turn one\nturn two\nread three\nturn four\nread 'five\\nsix\\n'\n"
    assert done.stdout == expected, done.stderr
