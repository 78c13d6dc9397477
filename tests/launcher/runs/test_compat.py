"""plaunch --compat: programs written for Lightning run on the engine, on every rank, unedited."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import engine.compat
from launcher.batch.script import Request, render
from launcher.cli.command import main
from launcher.core.errors import RunDirError
from launcher.core.job import Job, Program, RunOptions
from launcher.request.program import COMPAT
from launcher.rundir.rundir import RunDir
from tests.launcher.support.runs import Launcher

OLD = '''
"""As programs of 1.x were written."""
import json, os, sys, torch
import pytorch_lightning as pl
from pytorch_lightning.core import LightningModule
from pytorch_lightning.utilities.distributed import rank_zero_only
from torch.utils.data import DataLoader, TensorDataset

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    data = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2, num_workers=1,
                      multiprocessing_context="spawn")
    trainer = pl.Trainer(accelerator="ddp_cpu", num_processes=2, max_epochs=1, logger=False,
                         checkpoint_callback=False, progress_bar_refresh_rate=0)
    trainer.fit(Model(), data)
    told = [sys.argv, __file__, type(__spec__).__name__, sys.path[0], sys.orig_argv[1:],
            pl.Trainer.__module__, trainer.world_size, trainer.global_step, rank_zero_only.rank]
    with open(f"told-{os.environ['RANK']}.json", "w") as file:
        json.dump(told, file)
'''


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_an_old_program_runs_on_two_ranks(plaunch: Launcher, start: str) -> None:
    """S001, S002, S003: as `python old_train.py` would, with its own `__main__`, argv and path."""
    plaunch.write("app/train.py", OLD)
    words = ["--compat", "pytorch_lightning", "--start", start, "--procs", "2"]

    done = plaunch(*words, "app/train.py", "--lr", "0.1").ok()

    path = str(plaunch.folder / "app/train.py")
    for rank in range(2):
        told = json.loads((plaunch.folder / f"told-{rank}.json").read_text())
        assert told == [
            ["app/train.py", "--lr", "0.1"],
            path,
            "NoneType",
            str(plaunch.folder / "app"),
            ["-u", "-m", "engine.compat", "pytorch_lightning", "app/train.py", "--lr", "0.1"],
            "engine.compat.legacy.trainer",
            2,
            2,
            rank,
        ]
    assert "loss" in done.values[0]
    assert json.loads((done.run_dir or Path()).joinpath("job.json").read_text())["compat"]


def test_a_failure_is_the_programs_own(plaunch: Launcher) -> None:
    """The verdict's traceback begins in the script: nothing of ours stands above it."""
    plaunch.write("train.py", "import pytorch_lightning\nraise ValueError('as it was meant')\n")

    done = plaunch("--compat", "pytorch_lightning", "train.py")

    lines = done.verdict["exception"]["traceback"].splitlines()
    assert done.code == 1
    assert lines[1].strip() == f'File "{plaunch.folder / "train.py"}", line 2, in <module>'
    assert lines[-1] == "ValueError: as it was meant"


def test_a_node_without_the_engine_is_told_of_before_anything_starts(plaunch: Launcher) -> None:
    """One table with what is wrong and what to do; the run does not begin."""
    plaunch.write("hidden/engine.py", "")
    plaunch.write("train.py", "print('began')\n")
    variable = f"PYTHONPATH={plaunch.folder / 'hidden'}"

    done = plaunch("--compat", "pytorch_lightning", "--env", variable, "train.py")

    assert (done.code, done.out) == (3, "")
    assert "--compat pytorch_lightning needs the package 'engine'" in done.err
    assert str(plaunch.folder / "hidden/engine.py") in done.err
    assert "pip install plaunch" in done.err


def test_an_engine_of_the_programs_own_is_an_error(plaunch: Launcher) -> None:
    """Beside the script, where no probe sees it: it can't have both, and is told which file."""
    plaunch.write("app/engine.py", "")
    plaunch.write("app/train.py", "print('began')\n")

    done = plaunch("--compat", "pytorch_lightning", "app/train.py")

    assert (done.code, done.out) == (1, "")
    assert f"{plaunch.folder / 'app/engine.py'} is called `engine`" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--compat", "keras", "train.py"], "the engine stands in for lightning and pytorch_light"),
        (["--compat", "lightning", "--no-python", "true"], "leave out --no-python"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """Exit code 2, before anything is looked at."""
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_the_names_are_the_engines() -> None:
    """They are written twice on purpose: the launcher does not know the engine."""
    assert sorted(engine.compat.NAMES) == list(COMPAT)


def test_a_batch_script_says_it_too() -> None:
    """A job in SLURM's queue runs the program in the same way."""
    program = Program("script", "train.py", compat="pytorch_lightning")
    script = render(Request(RunOptions(), program, sys.executable))

    assert "--compat pytorch_lightning train.py" in " ".join(script.split())


def test_a_run_folder_belongs_to_one_kind_of_run(tmp_path: Path) -> None:
    """Going on with another --compat would be another run."""
    job = Job("one", Program("script", "train.py"), run_dir=str(tmp_path / "run"))
    rundir = RunDir(job)
    rundir.open()
    rundir.close()

    RunDir(job).check()
    with pytest.raises(RunDirError, match="with another --compat"):
        RunDir(replace(job, program=replace(job.program, compat="lightning"))).check()
