"""Ranks that end early, and ranks that never meet: it is said, once, and not without reason."""

from __future__ import annotations

from launcher.controller.monitor.phases import early_end, were_independent
from tests.launcher.support.runs import Launcher

APART = "ranks ran as independent copies"

EARLY = """
import os, sys, time
if os.environ["RANK"] != "0":
    while not os.path.exists("ready"): time.sleep(0.05)
    sys.exit(0)
if sys.argv[1] == "meet":
    import torch.distributed as dist
    from datetime import timedelta
    open("ready", "w").close()
    dist.init_process_group("gloo", timeout=timedelta(seconds=600))
while not os.path.exists("go"): time.sleep(0.05)
"""


def test_a_rank_that_ends_while_others_wait_is_named(plaunch: Launcher) -> None:
    """With who still runs and what it waits for; the run goes on until somebody ends it."""
    plaunch.write("main.py", EARLY)
    run = plaunch.start("--procs", "3", "--failure-grace", "600", "main.py", "meet")
    run.until(lambda: "ended with 0" in run.err, "the early end is said")
    line = "plaunch: ranks 1-2 ended with 0, but rank 0 still runs, in init_process_group, which"
    assert f"{line} waits for all 3\n" in run.err
    run.signal(15)
    assert run.wait().code == 143


def test_independent_copies_are_called_so(plaunch: Launcher) -> None:
    """An early end is said once, where nothing is waited for, too; and that the ranks never met.

    One rank alone, a program that is no Python, and --quiet are spared.
    """
    plaunch.write("main.py", EARLY)
    plaunch.write("ready", "")
    run = plaunch.start("--start", "cold", "--procs", "3", "main.py", "alone")
    run.until(lambda: "ended with 0" in run.err, "the early end is said")
    (plaunch.folder / "go").touch()
    done = run.wait().ok()
    assert done.err.count("ranks 1-2 ended with 0, but rank 0 still runs\n") == 1
    assert done.err.count(f"plaunch: 3 {APART}") == 1
    for words in (
        ("--procs", "1", "main.py", "alone"),
        ("--procs", "2", "--no-python", "true"),
        ("--procs", "2", "--quiet", "main.py", "alone"),
    ):
        done = plaunch("--start", "cold", *words).ok()
        assert APART not in done.err
        assert "ended with 0" not in done.err


MEETS = """
import os, torch.distributed as dist
file = f"file://{os.getcwd()}/{os.getpid()}"
dist.init_process_group("gloo", rank=0, world_size=1, init_method=file)
dist.barrier()
dist.destroy_process_group()
"""


def test_a_group_of_one_joins_nobody(plaunch: Launcher) -> None:
    """Ranks that each make a process group of their own are independent copies as well."""
    plaunch.write("main.py", MEETS)
    done = plaunch("--procs", "2", "main.py").ok()
    assert done.err.count(APART) == 1
    assert "ended with 0" not in done.err


def test_the_words() -> None:
    """However many ranks, it is one line; ranks that wait are told from those that don't."""
    waits = {0: "init_process_group", 1: "joined"}
    assert early_end([2], [0, 1], waits) == (
        "rank 2 ended with 0, but ranks 0-1 still run, rank 0 in init_process_group, which waits "
        "for all 3"
    )
    many = early_end(range(1, 512), [0], {})
    assert many == "ranks 1-511 ended with 0, but rank 0 still runs"
    assert were_independent({}, 1) is None
    assert were_independent({0: "joined"}, 2) is None
    assert (were_independent({0: "alone"}, 2) or "").startswith(f"2 {APART}")
