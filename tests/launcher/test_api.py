"""``launch()`` and ``submit()``: what they take, and a run in the background from Python."""

from __future__ import annotations

import inspect
import json
import os
import re
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from launcher import Handle, JobFailed, launch, submit
from launcher.core.errors import UsageError
from launcher.core.job import RunOptions
from launcher.core.options import OPTIONS
from tests.launcher.support.runs import DEADLINE_S, until

# What only the command line has: a run that isn't waited for is submit()'s, and arrays have many
# results.
NOT_HERE = {name for name, option in OPTIONS.items() if not option.keyword}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_option_is_a_keyword_of_both() -> None:
    """By name in the signature, with the command line's default, and in the one docstring."""
    options = {field.name: field for field in fields(RunOptions) if field.name not in NOT_HERE}
    shown = inspect.signature(launch).parameters

    assert set(shown) == {*options, "program", "args", "kwargs", "compat", "check", "quiet"}
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in options)
    described = re.findall(r"^ {8}(\w+): ", launch.__doc__ or "", re.M)
    assert [name for name in described if name in shown] == list(shown)
    plain = [name for name in options if name not in ("env", "preload", "sbatch")]
    assert all(shown[name].default == options[name].default for name in plain)
    theirs = inspect.signature(submit)
    assert theirs.parameters == shown
    assert "Handle" in str(theirs.return_annotation)


@pytest.mark.parametrize("function", [launch, submit])
def test_a_misspelt_keyword_is_named(function: Any) -> None:
    """Nothing is started, and nothing is left in the folder."""
    with pytest.raises(TypeError, match="'max_restart'"):
        function("main.py", max_restart=1)
    assert os.listdir() == []


def test_a_request_without_sense_is_refused_before_anything_runs() -> None:
    """By submit() itself, not only when the result is asked for."""
    with pytest.raises(UsageError, match="script not found"):
        submit("missing.py", cluster="local")
    with pytest.raises(UsageError, match="--max-restarts"):
        submit(lambda: None, cluster="local", max_restarts=-1)
    with pytest.raises(UsageError, match="procs: a whole number"):
        submit(lambda: None, cluster="local", procs="two")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="grace_s: a number of seconds"):
        submit(lambda: None, cluster="local", grace_s=-1)
    with pytest.raises(TypeError, match="args: a list"):
        submit(lambda: None, 0.1, cluster="local")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--partition"):
        submit(lambda: None, cluster="local", partition="gpu")
    assert not [one for one in threading.enumerate() if one.name.startswith("plaunch ")]


def test_runs_in_the_background(here: Path) -> None:
    """Two at once: each waits for the other; states, values, and results that come again."""

    def meet(mine: str, other: str) -> str:
        import time
        from pathlib import Path

        Path(mine).touch()
        give_up = time.monotonic() + 60
        while not Path(other).exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        return mine

    options: dict[str, Any] = {"cluster": "local", "quiet": True, "start": "cold"}
    runs = [submit(meet, ["a", "b"], **options), submit(meet, ["b", "a"], **options)]
    results = [run.result(DEADLINE_S) for run in runs]

    assert [result.values for result in results] == [["a"], ["b"]]
    assert [run.done() for run in runs] == [True, True]
    assert [run.status() for run in runs] == ["succeeded", "succeeded"]
    assert [run.job_id for run in runs] == [result.job_id for result in results]
    assert [run.run_dir for run in runs] == [result.run_dir for result in results]
    assert runs[0].result() is results[0]


def test_a_run_is_cancelled_by_its_handle(here: Path) -> None:
    """It says that it runs, a short wait for it is in vain, and cancel() ends its ranks."""

    def stay() -> None:
        import time
        from pathlib import Path

        Path("began").touch()
        time.sleep(600)

    run = submit(stay, cluster="local", quiet=True, start="cold", grace_s=5)
    until((here / "began").exists, "the function to begin")
    assert not run.done()
    assert run.status() == "running"
    assert repr(run) == f"<LedRun {run.job_id}: running>"
    with pytest.raises(TimeoutError, match=r"not ended within 0\.01 s"):
        run.result(timeout_s=0.01)

    run.cancel()
    with pytest.raises(JobFailed) as failed:
        run.result(DEADLINE_S)

    assert (failed.value.result.state, failed.value.result.exit_code) == ("cancelled", 130)
    assert (run.done(), run.status()) == (True, "cancelled")


def test_a_failure_in_the_background() -> None:
    """result() raises as launch() does, or not; what keeps a run from starting comes there, too."""
    options: dict[str, Any] = {"cluster": "local", "quiet": True, "start": "cold"}
    run = submit(lambda: 1 // 0, **options)
    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        run.result(DEADLINE_S)
    assert run.status() == "failed"
    unchecked = submit(lambda: 1 // 0, check=False, run_dir="run", **options)
    assert unchecked.result(DEADLINE_S).state == "failed"

    never: Handle = submit(lambda: 1, run_dir="run/result.json", **options)
    with pytest.raises(Exception, match=r"result\.json"):
        never.result(DEADLINE_S)
    assert (never.done(), never.status()) == (True, "not started")


def test_a_function_that_trains_gives_its_metrics_beside_its_value() -> None:
    """Both are in the object and in the file; one that returns nothing has them as its value."""

    def train(*, silent: bool) -> str | None:
        import torch

        import engine

        class Model(engine.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any, batch_idx: int) -> Any:
                loss = self.layer(batch).sum()
                self.log("seen", 7.0)
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        trainer = engine.Trainer(
            max_steps=1, logger=False, enable_progress_bar=False, enable_model_summary=False
        )
        trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(2, 1)))
        return None if silent else "done"

    spoken = launch(train, kwargs={"silent": False}, cluster="local", quiet=True)
    silent = launch(train, kwargs={"silent": True}, cluster="local", quiet=True)

    assert spoken.values == ["done"]
    assert spoken.metrics[0] is not None
    assert (spoken.metrics[0]["seen"], spoken.metrics[0]["engine"]["global_step"]) == (7.0, 1)
    file = json.loads(Path(spoken.run_dir, "result.json").read_text())
    assert file["ranks"][0]["metrics"] == spoken.metrics[0]
    assert silent.values == silent.metrics
    assert silent.values[0]["seen"] == 7.0
