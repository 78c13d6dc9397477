"""What a run gives back: values of functions and scripts, the result file, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher import JobFailed, launch
from launcher.core.errors import UsageError
from tests.launcher.support.runs import Launcher

RESULT_KEYS = {
    "job_id", "state", "exit_code", "attempts", "preemptions", "world_size", "seconds", "nodes",
    "ranks", "verdict",
}  # fmt: skip
VERDICT_KEYS = {
    "kind", "rank", "node", "exit_code", "signal", "exception", "last_lines", "victims", "attempt",
}  # fmt: skip


LATE = """
import os, time

fork = os.fork

def late():
    child = fork()
    if child:
        time.sleep(0.5)  # the child is at work, and nobody has been told of it
    return child

os.fork = late
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_rank_may_be_quicker_than_the_news_of_it(plaunch: Launcher) -> None:
    """What it reports counts, and why it failed, though its process was not known yet."""
    plaunch.write("late.py", LATE)
    plaunch.write("main.py", "from launcher import report; report('quick')")
    plaunch.write("fails.py", "raise ValueError('quick')")
    words, env = ("--preload", "late", "--procs", "2"), {"PYTHONPATH": str(plaunch.folder)}

    assert plaunch(*words, "main.py", env=env).ok().values == ["quick", "quick"]
    assert plaunch(*words, "fails.py", env=env).verdict["exception"]["type"] == "ValueError"


def test_result_file_is_as_the_contract_has_it(plaunch: Launcher) -> None:
    """All names of the contract, types, one entry a rank, and the same file by --result."""
    plaunch.write(
        "main.py",
        """
        import os
        from launcher import report
        report({"rank": int(os.environ["RANK"]), "nan": float("nan"), "text": "naïve \\n"})
        """,
    )
    (plaunch.folder / "copy.json").write_text("stale")
    done = plaunch(
        "--start", "cold", "--nodes", "2", "--procs", "2", "--result", "copy.json", "main.py"
    ).ok()
    result = done.result
    assert result is not None
    assert set(result) >= RESULT_KEYS
    assert set(result) - RESULT_KEYS <= {"run_dir", "history", "message"}
    assert json.loads((plaunch.folder / "copy.json").read_text()) == result
    assert (result["state"], result["exit_code"], result["world_size"]) == ("succeeded", 0, 4)
    assert (result["attempts"], result["preemptions"], result["verdict"]) == (1, 0, None)
    assert 0 < result["seconds"] < 90
    assert result["nodes"] == [
        {"name": "local0", "address": "127.0.0.1", "gpus": []},
        {"name": "local1", "address": "127.0.0.1", "gpus": []},
    ]
    assert result["ranks"] == [
        {
            "rank": rank,
            "local_rank": rank % 2,
            "node": f"local{rank // 2}",
            "exit_code": 0,
            "value": {"rank": rank, "nan": None, "text": "naïve \n"},
            "metrics": None,
        }
        for rank in range(4)
    ]
    assert "NaN" not in (plaunch.folder / "copy.json").read_text()
    assert result["message"] == "nan is nan"
    assert "; nan is nan\n" in done.err


def test_verdict_in_the_result_file(plaunch: Launcher) -> None:
    """All names of the contract; a stale result file is gone before the ranks start."""
    plaunch.write(
        "main.py",
        """
        import glob, os
        assert not os.path.exists("copy.json") and not glob.glob("run/result.json")
        print("a word", flush=True)
        raise ValueError("of a kind")
        """,
    )
    (plaunch.folder / "copy.json").write_text("stale")
    (plaunch.folder / "run").mkdir()
    (plaunch.folder / "run" / "result.json").write_text('{"state": "failed"}')
    done = plaunch("--start", "cold", "--run-dir", "run", "--result", "copy.json", "main.py")
    assert done.code == 1
    verdict = done.verdict
    assert set(verdict) >= VERDICT_KEYS
    assert set(verdict) - VERDICT_KEYS <= {"step", "message", "ranks", "last_step", "stack"}
    assert verdict["exception"]["type"] == "ValueError"
    assert set(verdict["exception"]) == {"type", "message", "traceback"}
    assert verdict["last_lines"][0] == "a word"
    assert (plaunch.folder / "copy.json").exists()


def test_the_last_report_counts_and_programs_need_not_report(plaunch: Launcher) -> None:
    """Values are null without a report, and the last one with several."""
    plaunch.write(
        "main.py",
        """
        import os
        from launcher import report
        if os.environ["RANK"] == "1":
            report(1)
            report([2, {"a": "b"}])
            os._exit(0)
        """,
    )
    assert plaunch("--start", "cold", "--procs", "2", "main.py").ok().values == [
        None,
        [2, {"a": "b"}],
    ]


def test_functions_return_values_by_rank(here: Path) -> None:
    """A closure over local data runs on every rank; tensors and arrays become lists."""
    offset = 100

    def work(base: int, *, scale: int) -> dict[str, object]:
        import os

        import torch
        import torch.distributed as dist

        dist.init_process_group("gloo")
        total = torch.ones(2)
        dist.all_reduce(total)
        dist.destroy_process_group()
        rank = int(os.environ["RANK"])
        return {"rank": rank, "sum": total, "value": base + scale * rank + offset}

    result = launch(work, (1,), {"scale": 10}, nodes=2, procs=1, cluster="local", quiet=True)
    assert result.values == [
        {"rank": 0, "sum": [2.0, 2.0], "value": 101},
        {"rank": 1, "sum": [2.0, 2.0], "value": 111},
    ]
    assert result.state == "succeeded"


def test_an_exception_of_a_function_is_told_with_its_rank(here: Path) -> None:
    """JobFailed says rank, type, message, and the line of the function that raised."""

    def work() -> None:
        import os

        if os.environ["RANK"] == "1":
            raise LookupError("no such thing")  # this very line

    with pytest.raises(JobFailed) as caught:
        launch(work, procs=2, cluster="local", quiet=True, start="cold")
    text = str(caught.value)
    assert "rank 1" in text
    assert "LookupError: no such thing" in text
    verdict = caught.value.result.verdict
    assert verdict is not None
    assert (verdict.kind, verdict.rank) == ("exception", 1)
    assert verdict.exception is not None
    assert "in work" in verdict.exception.traceback
    assert "run_function" not in verdict.exception.traceback


def test_lambdas_and_results_that_are_no_data(here: Path) -> None:
    """A lambda works; a value that JSON lacks is an error that names its type."""
    result = launch(lambda: [1, "two", None], cluster="local", quiet=True, start="cold")
    assert result.values == [[1, "two", None]]
    failed = launch(lambda: object(), cluster="local", quiet=True, start="cold", check=False)
    assert failed.state == "failed"
    assert failed.verdict is not None
    assert failed.verdict.exception is not None
    assert "returned a object" in failed.verdict.exception.message


def test_a_function_that_reports_and_returns_nan(here: Path) -> None:
    """NaN and infinities become null, in the object as in the file."""
    result = launch(
        lambda: {"x": float("nan"), "y": [float("inf")]}, cluster="local", quiet=True, start="cold"
    )
    assert result.values == [{"x": None, "y": [None]}]
    file = json.loads(Path(result.run_dir, "result.json").read_text())
    assert file["ranks"][0]["value"] == {"x": None, "y": [None]}


def test_launch_of_a_script(here: Path) -> None:
    """Words reach the script; a failure is an exception unless ``check`` is false."""
    (here / "main.py").write_text(
        "import sys\nfrom launcher import report\n"
        "report(sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n"
    )
    options = {"cluster": "local", "quiet": True, "start": "cold"}
    assert launch("main.py", [0, "a b"], **options).values == [["0", "a b"]]  # type: ignore[arg-type]
    with pytest.raises(JobFailed, match="exit code 5") as caught:
        launch("main.py", [5], **options)  # type: ignore[arg-type]
    assert caught.value.result.exit_code == 5
    assert launch("main.py", [5], check=False, **options).exit_code == 5  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="script not found"):
        launch("missing.py", **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keyword"):
        launch("main.py", (), {"a": 1}, **options)  # type: ignore[arg-type]
