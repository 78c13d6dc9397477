"""The first file a newcomer reads runs as it stands."""

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support import forkserver

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One training of examples/digits.py in one process: its folder and its output."""
    folder = tmp_path_factory.mktemp("digits")
    done = forkserver.shared().run([EXAMPLES / "digits.py", "--epochs", "4"], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_learns(run):
    """Four epochs are enough for 95 % of images it has never seen."""
    folder, _ = run
    with open(folder / "lightning_logs/version_0/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    [test_acc] = [float(row["test_acc"]) for row in rows if row.get("test_acc")]
    assert test_acc >= 0.95
    assert len([row for row in rows if row["val_acc"]]) == 4


def test_everything_of_the_run_is_in_one_folder(run):
    """Event files, table, hyper-parameters and the best checkpoint share version_0."""
    folder, _ = run
    logs = folder / "lightning_logs"

    assert [path.name for path in folder.iterdir()] == ["lightning_logs"]
    assert [path.name for path in logs.iterdir()] == ["version_0"]
    names = {path.name.split(".")[0] for path in (logs / "version_0").iterdir()}
    assert names == {"checkpoints", "events", "hparams", "metrics"}
    [best] = (logs / "version_0/checkpoints").iterdir()
    assert best.name.startswith("epoch=")
    assert "val_acc=0.9" in best.name


def test_tensorboard_and_csv_have_the_same_values(run):
    """Every logger receives identical metrics."""
    folder, _ = run
    events = EventAccumulator(str(folder / "lightning_logs/version_0"))
    events.Reload()
    with open(folder / "lightning_logs/version_0/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    for name in ("train_loss_step", "train_loss_epoch", "val_loss", "val_acc"):
        table = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        assert table, name
        assert [(e.step, pytest.approx(e.value)) for e in events.Scalars(name)] == table


def test_the_output_is_short(run):
    """One line an epoch, without control characters."""
    _, done = run

    lines = [line for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}/4" for n in range(1, 5)]
    assert "\x1b" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr
