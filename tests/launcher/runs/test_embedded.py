"""This machine as a cluster: names and ranks, two runs at once, a run inside a run."""

from __future__ import annotations

import os
import signal

from tests.launcher.support.runs import PLAUNCH, Launcher

SHOW = """
import os
from launcher import report
names = ("RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK "
         "ROLE_WORLD_SIZE ROLE_NAME MASTER_ADDR").split()
assert os.path.isdir(os.environ["PLAUNCH_RUN_DIR"])
report([os.environ[name] for name in names] + [os.environ["PLAUNCH_RUN_DIR"]])
"""


def test_two_nodes_on_one_machine(plaunch: Launcher) -> None:
    """Nodes have names of their own, ranks count on, and every line says where it comes from."""
    plaunch.write("main.py", SHOW + "print('here')\n")
    done = plaunch("--start", "cold", "--nodes", "2", "--procs", "2", "main.py").ok()
    assert done.run_dir is not None
    rest = ["default", "127.0.0.1", str(done.run_dir)]
    assert done.values == [
        [str(rank), str(rank % 2), "4", "2", str(rank // 2), "2", str(rank), "4", *rest]
        for rank in range(4)
    ]
    assert sorted(done.out.splitlines()) == [f"[local{rank // 2}:{rank}] here" for rank in range(4)]
    assert "4 ranks on 2 nodes" in done.err


def test_one_node_has_the_machines_name(plaunch: Launcher) -> None:
    """A single rank's lines come without a prefix; --quiet leaves only them."""
    plaunch.write("main.py", SHOW + "print('here')\n")
    done = plaunch("--start", "cold", "--quiet", "main.py").ok()
    assert (done.out, done.err) == ("here\n", "")
    assert done.result is not None
    assert done.result["nodes"][0]["name"] == os.uname().nodename


def test_two_runs_at_once(plaunch: Launcher) -> None:
    """Two warm runs of two nodes each reduce side by side and both get their own sums."""
    plaunch.write(
        "main.py",
        """
        import sys, torch, torch.distributed as dist
        from launcher import report
        dist.init_process_group("gloo")
        total = torch.tensor([float(sys.argv[1])])
        for _ in range(20): dist.all_reduce(total, op=dist.ReduceOp.MAX)
        dist.all_reduce(total)
        report(total.item())
        """,
    )
    runs = [plaunch.start("--nodes", "2", "main.py", word) for word in "15"]
    one, other = (run.wait().ok() for run in runs)
    assert one.values == [2.0] * 2
    assert other.values == [10.0] * 2
    assert one.run_dir != other.run_dir


INNER = """
import os, sys, time
open(f"inner{os.environ['RANK']}", "w").write(os.environ["WORLD_SIZE"])
while sys.argv[1] == "stay": time.sleep(0.05)
"""
OUTER = """
import subprocess, sys
words = ["--start", "cold", "--procs", "2", "inner.py", sys.argv[1]]
sys.exit(subprocess.run([sys.argv[2], *words]).returncode)
"""


def test_a_run_inside_a_run(plaunch: Launcher) -> None:
    """It works, its variables are its own, and it ends with the outer one."""
    plaunch.write("inner.py", INNER)
    plaunch.write("outer.py", OUTER)
    plaunch("--start", "cold", "outer.py", "end", PLAUNCH).ok()
    assert (plaunch.folder / "inner1").read_text() == "2"
    for name in ("inner0", "inner1"):
        (plaunch.folder / name).unlink()
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = plaunch.start("--start", "cold", "--grace", "0.2", "outer.py", "stay", PLAUNCH)
        run.until_file("inner0", "inner1")
        run.signal(number)
        run.wait()
        run.nothing_left()
        for name in ("inner0", "inner1"):
            (plaunch.folder / name).unlink()


def test_whose_report_counts(plaunch: Launcher) -> None:
    """A child of a rank does not speak for it: only the rank's own process does."""
    plaunch.write(
        "main.py",
        """
        import subprocess, sys
        from launcher import report
        report("mine")
        subprocess.run([sys.executable, "-c", "import launcher; launcher.report('a child')"],
                       check=True)
        """,
    )
    assert plaunch("--start", "cold", "main.py").ok().values == ["mine"]


def test_much_output_arrives_whole(plaunch: Launcher) -> None:
    """Lines of several ranks are never mixed, none is lost, long ones and odd bytes included."""
    plaunch.write(
        "main.py",
        r"""
        import os, sys
        rank = os.environ["RANK"]
        for number in range(3000): print(f"<{rank} {number} {'x' * (number % 300)}>")
        sys.stdout.flush()
        os.write(1, b"\xff\xfe odd " + rank.encode() + b"\n")
        os.write(1, b"y" * 200000 + b"\n")
        os.write(1, b"1%\r2%\r3%\rdone\r\n")
        os.write(2, b"no end of line")
        """,
    )
    done = plaunch("--start", "cold", "--nodes", "2", "--procs", "2", "main.py").ok()
    lines = done.out.splitlines()
    for rank in range(4):
        head = f"[local{rank // 2}:{rank}] "
        mine = [row.removeprefix(head) for row in lines if row.startswith(head)]
        expected = [f"<{rank} {number} {'x' * (number % 300)}>" for number in range(3000)]
        assert mine[:3000] == expected
        assert mine[3001:] == ["y" * 200000, "done"]
        assert done.run_dir is not None
        log = (done.run_dir / "logs" / f"rank{rank}.log").read_bytes()
        assert b"\xff\xfe odd " + str(rank).encode() + b"\n" in log
        assert b"no end of line" in log
    assert done.err.count("no end of line\n") == 4


def test_dry_run_and_the_end_of_the_words(plaunch: Launcher) -> None:
    """--dry-run starts nothing and says what would run where."""
    plaunch.write("main.py", "raise SystemExit(9)\n")
    done = plaunch("--dry-run", "--nodes", "2", "--procs", "2", "main.py", "a b")
    assert done.code == 0, done.err
    assert "local1" in done.out
    assert "2-3" in done.out
    assert "'a b'" in done.out
    assert not list(plaunch.folder.glob("plaunch_runs/*/result.json"))


def test_every_rank_is_started_once(plaunch: Launcher) -> None:
    """A cold start does not wait for the fork server, and does not start again when it is there."""
    plaunch.write(
        "main.py",
        """
        import os, time
        with open("started", "a") as file: file.write(os.environ["RANK"])
        time.sleep(0.2)
        """,
    )
    for _ in range(5):
        plaunch("--start", "cold", "--procs", "3", "main.py").ok()
        assert sorted((plaunch.folder / "started").read_text()) == ["0", "1", "2"]
        (plaunch.folder / "started").unlink()


def test_the_store_outlives_the_ranks_of_its_own_node(plaunch: Launcher) -> None:
    """Ranks of the second node still reach the store after all ranks of the first have ended."""
    plaunch.write(
        "main.py",
        """
        import os, sys, time, torch.distributed as dist
        dist.init_process_group("gloo")
        if dist.get_rank() == 0:
            open("pid0", "w").write(str(os.getpid()))
        dist.barrier()
        if dist.get_rank() == 0:
            sys.exit(0)
        while os.path.exists("/proc/" + open("pid0").read()): time.sleep(0.01)
        time.sleep(0.5)  # what the first node's agent does when its ranks have ended
        store = dist.distributed_c10d._get_default_store()
        store.set("late", "yes")
        print("store says", store.get("late").decode())
        """,
    )
    done = plaunch("--nodes", "2", "--procs", "1", "main.py").ok()

    assert "store says yes" in done.out
