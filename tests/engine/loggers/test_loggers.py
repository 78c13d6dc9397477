"""Loggers: what they write can be read by others, and a run has one folder."""

import argparse
import csv
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from engine.loggers import (
    CSVLogger,
    MemoryLogger,
    TensorBoardLogger,
    next_version,
    settle_versions,
)
from engine.loggers.dummy import Silent


def rows_of(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def events_of(folder: str):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(folder)
    accumulator.Reload()
    return accumulator


def test_versions_count_up_from_zero(tmp_path):
    """The next version is one more than the highest that is there, gaps and strangers apart."""
    assert next_version(tmp_path / "missing") == 0

    for name in ("version_0", "version_10", "version_x", "other", "version_3.old"):
        (tmp_path / name).mkdir()

    assert next_version(tmp_path) == 11


def test_a_version_is_known_before_anything_is_written(tmp_path):
    """S209: logger.version and log_dir can be asked for at once, and asking makes no folder."""
    logger = TensorBoardLogger(tmp_path)

    assert (logger.name, logger.version) == ("lightning_logs", 0)
    assert logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    assert list(tmp_path.iterdir()) == []


def test_without_a_save_dir_it_goes_where_the_run_is(tmp_path, monkeypatch):
    """The working folder, or what a trainer says; a folder that was given stays."""
    monkeypatch.chdir(tmp_path)
    logger = CSVLogger()
    assert logger.root_dir == str(tmp_path / "lightning_logs")

    logger.set_root(tmp_path / "run")
    assert logger.log_dir == str(tmp_path / "run" / "lightning_logs" / "version_0")
    (tmp_path / "other" / "lightning_logs" / "version_4").mkdir(parents=True)
    logger.set_root(tmp_path / "other")
    assert logger.version == 5
    given = CSVLogger(tmp_path / "mine")
    given.set_root(tmp_path / "run")
    assert given.save_dir == str(tmp_path / "mine")


def test_a_run_that_has_a_folder_already_is_logged_there(tmp_path):
    """Under a launcher each fit has its folder; a later fit's rows go to the later folder."""
    logger, named = CSVLogger(), CSVLogger(name="exp")
    for fit in ("fit-0", "fit-1"):
        for one in (logger, named):
            one.set_root(tmp_path, fit)
            settle_versions([one])
            one.log_metrics({"a": 1.0}, step=0)
            one.finalize("success")

        assert (tmp_path / fit / "metrics.csv").read_text() == "step,a\n0,1.0\n"
        assert (tmp_path / "exp" / fit / "metrics.csv").exists()


def test_a_version_that_was_given_is_kept(tmp_path):
    """A number names version_n, a text is the folder's name itself."""
    assert CSVLogger(tmp_path, "exp", version=7).log_dir == str(tmp_path / "exp" / "version_7")
    assert CSVLogger(tmp_path, "", version="mine").log_dir == str(tmp_path / "mine")


def test_loggers_of_one_run_share_one_folder(tmp_path):
    """Two loggers with the same root write side by side; the next run gets the next number."""
    for run in range(3):
        loggers = [TensorBoardLogger(tmp_path), CSVLogger(tmp_path)]
        settle_versions(loggers)
        for logger in loggers:
            logger.log_metrics({"loss": 1.0}, step=0)
            logger.finalize("success")

        folder = tmp_path / "lightning_logs" / f"version_{run}"
        assert {logger.log_dir for logger in loggers} == {str(folder)}
        assert {path.name.split(".")[0] for path in folder.iterdir()} == {"events", "metrics"}


def test_a_logger_joins_the_folder_of_one_that_has_its_version(tmp_path):
    """A version that was given, or used in an earlier fit, is the run's version."""
    given = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path, version=4)]
    settle_versions(given)
    assert [logger.version for logger in given] == [4, 4]

    old = CSVLogger(tmp_path, "exp")
    settle_versions([old])
    later = [old, TensorBoardLogger(tmp_path, "exp")]
    settle_versions(later)
    assert [logger.version for logger in later] == [0, 0]


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    """Programs that settle at the same moment never share a version."""
    loggers = [CSVLogger(tmp_path) for _ in range(8)]
    gate = threading.Barrier(len(loggers))

    def settle(logger: CSVLogger) -> None:
        gate.wait(timeout=10)
        settle_versions([logger])

    threads = [threading.Thread(target=settle, args=(logger,)) for logger in loggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)

    assert sorted(logger.version for logger in loggers) == list(range(8))


def test_other_ranks_take_the_version_of_rank_zero(tmp_path, monkeypatch):
    """What a rank guessed from its own disk gives way to what rank zero decided."""
    logger = CSVLogger(tmp_path)
    (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True)
    assert logger.version == 1
    monkeypatch.setenv("RANK", "1")
    order = []

    settle_versions([logger], broadcast=lambda mine: [0], barrier=lambda: order.append("barrier"))

    assert logger.version == 0
    assert order == ["barrier"]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    """On other ranks the experiment takes every call, and no file appears."""
    monkeypatch.setenv("RANK", "1")
    for logger in (TensorBoardLogger(tmp_path), CSVLogger(tmp_path)):
        logger.experiment.add_image("x", torch.zeros(3, 4, 4), 0)
        logger.experiment.some.thing["key"](1)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.log_hyperparams({"lr": 0.1})
        logger.save()
        logger.finalize("success")
        assert isinstance(logger.experiment, Silent)

    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_what_was_logged(tmp_path):
    """S229: scalars, several lines in a chart, and raw content arrive in the event file."""
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"depth": 2}})
    logger.log_metrics({"train loss": 0.5, "acc": torch.tensor(0.25)}, step=3)
    logger.log_metrics({"train loss": 0.25}, step=4)
    logger.experiment.add_image("digit", torch.zeros(1, 8, 8), 4)
    logger.finalize("success")

    events = events_of(logger.log_dir)
    assert [(e.step, e.value) for e in events.Scalars("train loss")] == [(3, 0.5), (4, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("acc")] == [(3, 0.25)]
    assert events.Tags()["images"] == ["digit"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_run_has_one_event_file(tmp_path):
    """Hyper-parameters and metrics of one run go to the same event file."""
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1})
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)
        logger.save()
    logger.finalize("success")

    assert len(list(Path(logger.log_dir).glob("events.*"))) == 1


def test_tensorboard_draws_the_graph_when_asked(tmp_path):
    """log_graph=True writes the model's graph; the default does not."""
    model = torch.nn.Linear(4, 2)
    model.example_input_array = torch.zeros(1, 4)
    for asked in (True, False):
        logger = TensorBoardLogger(tmp_path, version=int(asked), log_graph=asked)
        logger.log_graph(model)
        logger.log_metrics({"loss": 1.0}, 0)
        logger.finalize("success")
        assert events_of(logger.log_dir).Tags()["graph"] is asked


def test_hparams_are_a_plain_yaml_file(tmp_path):
    """hparams.yaml loads by safe_load, whatever was among the hyper-parameters."""
    namespace = argparse.Namespace(
        lr=0.1,
        wide=np.float64(0.5),
        count=np.int64(3),
        sizes=(1, 2),
        path=Path("data"),
        weights=torch.tensor([1.0, 2.0]),
        net=torch.nn.Linear,
        nested={"deep": None},
    )
    expected = {
        "lr": 0.1,
        "wide": 0.5,
        "count": 3,
        "sizes": [1, 2],
        "path": "data",
        "weights": [1.0, 2.0],
        "net": "torch.nn.modules.linear.Linear",
        "nested": {"deep": None},
    }
    for kind in (CSVLogger, TensorBoardLogger):
        logger = kind(tmp_path / kind.__name__)
        logger.log_hyperparams(namespace)
        logger.log_hyperparams({"more": 1})

        text = (Path(logger.log_dir) / "hparams.yaml").read_text()
        assert yaml.safe_load(text) == {**expected, "more": 1}
        assert [path.name for path in Path(logger.log_dir).iterdir()] == ["hparams.yaml"]


def test_csv_holds_one_row_for_each_call(tmp_path):
    """Values come back exactly; what a row does not have is empty."""
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.1, "epoch": 0}, step=9)
    logger.log_metrics({"acc": torch.tensor(0.5), "epoch": 1}, step=19)
    logger.save()

    assert rows_of(logger) == [
        {"epoch": "0", "step": "9", "loss": "0.1", "acc": ""},
        {"epoch": "1", "step": "19", "loss": "", "acc": "0.5"},
    ]


def test_csv_is_appended_to_and_not_rewritten(tmp_path):
    """S227: a flush leaves every byte that was there; only a new column makes a new file."""
    logger = CSVLogger(tmp_path)
    file = Path(logger.log_dir) / "metrics.csv"
    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()
    inode, before = file.stat().st_ino, file.read_bytes()

    logger.log_metrics({"a": 2.0}, step=1)
    logger.save()
    assert file.stat().st_ino == inode
    assert file.read_bytes() == before + b"1,2.0\n"

    logger.log_metrics({"b": 3.0}, step=2)
    logger.log_metrics({"a": 4.0, "c": 5.0}, step=3)
    logger.save()
    assert [row["a"] for row in rows_of(logger)] == ["1.0", "2.0", "", "4.0"]
    assert {len(line.split(",")) for line in file.read_text().splitlines()} == {4}


def test_csv_flushes_by_steps(tmp_path):
    """The file grows once flush_logs_every_n_steps have passed since the last flush."""
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=100)
    logger._flush_due = float("inf")
    file = Path(logger.log_dir) / "metrics.csv"
    logger.log_metrics({"a": 1.0}, step=50)
    assert not file.exists()

    logger.log_metrics({"a": 1.0}, step=100)
    assert len(rows_of(logger)) == 2


def test_csv_is_complete_after_kill_minus_nine(tmp_path):
    """S227: every row up to the last flush survives SIGKILL, whole, also across new columns."""
    program = """
import os, signal, sys
from engine.loggers import CSVLogger
logger = CSVLogger(sys.argv[1], version=0)
for step in range(1000):
    logger.log_metrics({"a": step / 2, f"late{step // 400}": 1.0}, step)
logger.save()
logger.log_metrics({"a": -1.0}, 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60)
    assert done.returncode == -9

    rows = rows_of(CSVLogger(tmp_path, version=0))
    assert [row["step"] for row in rows] == [str(step) for step in range(1000)]
    assert all(row["a"] and row[f"late{int(row['step']) // 400}"] for row in rows)


def test_csv_goes_on_where_an_earlier_run_stopped(tmp_path):
    """Given the same version, rows are added below; a line that was cut short is dropped."""
    first = CSVLogger(tmp_path, version=0)
    first.log_metrics({"a": 1.0}, step=0)
    first.finalize("success")
    with open(Path(first.log_dir) / "metrics.csv", "a") as file:
        file.write("1,0.12")

    second = CSVLogger(tmp_path, version=0)
    second.log_metrics({"a": 2.0, "b": 3.0}, step=1)
    second.finalize("success")
    second.log_metrics({"b": 4.0}, step=2)
    second.save()

    assert rows_of(second) == [
        {"step": "0", "a": "1.0", "b": ""},
        {"step": "1", "a": "2.0", "b": "3.0"},
        {"step": "2", "a": "", "b": "4.0"},
    ]


def test_a_prefix_stands_before_every_metric(tmp_path):
    """prefix='exp' writes loss as exp-loss."""
    logger = CSVLogger(tmp_path, prefix="exp")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.save()

    assert rows_of(logger) == [{"step": "0", "exp-loss": "1.0"}]


def test_the_memory_logger_keeps_what_it_is_given():
    """Rows, hyper-parameters and the closing status can be asked for."""
    logger = MemoryLogger()
    logger.log_hyperparams(argparse.Namespace(lr=1))
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_metrics({"b": 2.0}, 1)
    logger.log_metrics({"a": 3.0}, 2)
    logger.finalize("success")

    assert logger.series("a") == [(0, 1.0), (2, 3.0)]
    assert (logger.hparams, logger.status) == ({"lr": 1}, "success")


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_logger_travels_to_another_process(tmp_path, kind):
    """A pickled logger leaves its open files behind and writes to the same folder."""
    logger = kind(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)

    copy = pickle.loads(pickle.dumps(logger))

    assert copy.log_dir == logger.log_dir


def test_importing_the_loggers_imports_no_tensorboard():
    """TensorBoard's writer and YAML are imported when something is written, not before."""
    program = (
        "import sys, engine.loggers as l; l.TensorBoardLogger('x').version;"
        "print([m for m in ('tensorboard', 'torch.utils.tensorboard', 'yaml', 'rich')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.strip() == "[]", done.stderr
