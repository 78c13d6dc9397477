"""Old programs, unedited, by `python -m engine.compat`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.support.compat_runs import OLD, compat, real_one, run

TWO_RANKS = """
import sys
import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins import DDPPlugin

if __name__ == "__main__":
    trainer = pl.Trainer(
        accelerator="ddp_cpu", num_processes=2, plugins=DDPPlugin(find_unused_parameters=False),
        max_epochs=1, limit_train_batches=2, limit_val_batches=1, logger=False,
        checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None,
    )
    trainer.fit(BoringModel())
    rank = trainer.global_rank
    with open(f"told-{rank}", "w") as file:
        file.write(" ".join([str(rank), str(trainer.world_size), pl.Trainer.__module__, *sys.argv]))
"""


def test_every_import_of_the_wild_works(tmp_path: Path) -> None:
    """S001, S002, S003, S004, S005, S006, S007, S216, C7, C9: as programs have them.

    The statements are those of large public programs and of Lightning's own examples; a real
    Lightning that is installed is not imported.
    """
    result = tmp_path / "failed.json"
    done = compat(
        [str(OLD / "run_imports.py"), str(OLD / "imports.txt"), str(result)],
        tmp_path,
        path=real_one(tmp_path),
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(result.read_text()) == {}


def test_an_old_gan_runs_as_it_is(tmp_path: Path) -> None:
    """S002, S003: two optimizers, argparse, hooks with the arguments of 1.x, on_epoch_end."""
    words = ["--max_epochs", "2", "--progress_bar_refresh_rate", "0", "--batch_size=32"]

    done = compat([str(OLD / "gan.py"), *words], tmp_path, path=real_one(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["batches 16 steps 16", "same weights True lr 0.0002"]
    assert (tmp_path / "gan" / "version_0" / "hparams.yaml").exists()


def test_an_old_autoencoder_runs_as_it_is(tmp_path: Path) -> None:
    """S002, S004, S006, S007: with loggers of its own, data modules, best weights, predictions.

    DataLoader workers and pools of the method spawn know the names as well; another program that
    this one starts has the Lightning that is really installed.
    """
    words = ["--max_epochs", "2", "--batch_size", "16"]
    script = OLD / "autoencoder.py"

    done = compat([str(script), *words], tmp_path, path=real_one(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "val_mean" in done.stdout  # the table
    found = json.loads((tmp_path / "found.json").read_text())
    assert 0 <= found.pop("acc") <= 1
    assert found.pop("best").startswith("epoch=1-val_mean=")
    assert {"val_mean", "lr-Adam", "test_acc"} <= set(found.pop("logged"))
    assert found == {
        "argv": [str(script), *words],
        "main": ["__main__", str(script), "NoneType"],
        "path": str(OLD),
        "size": [8],
        "predictions": [[16, 2], [16, 2]],
        "params": {"hidden_dim": 2, "learning_rate": 0.02},
        "child": "engine.compat.legacy.trainer",
        "elsewhere": "RuntimeError: the real one was imported",
        "module": "engine.compat.legacy.module",
    }


def test_names_that_lightning_dropped_still_work(tmp_path: Path) -> None:
    """S216, C9: weights_save_path, TestTubeLogger, size(), the old hooks, LearningRateLogger."""
    words = ["--max_epochs", "2", "--weights_save_path", "kept", "--progress_bar_refresh_rate=0"]

    done = compat([str(OLD / "template.py"), *words], tmp_path)

    assert done.returncode == 0, done.stderr
    assert "done on rank 0" in done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["config"] == {
        "max_epochs": 2,
        "progress_bar_refresh_rate": 0,
        "weights_save_path": "kept",
    }
    assert found["size"] == [[1, 4], 4]
    assert found["kept"] == ["epoch=000000.ckpt", "epoch=000001.ckpt", "last.ckpt"]
    assert (found["callbacks"], found["seen"]) == (1, 26)
    assert found["default"] == str(tmp_path / "kept")


def test_an_old_program_starts_its_other_ranks(tmp_path: Path) -> None:
    """The ranks that a Trainer starts know the names as the first one does."""
    script = tmp_path / "train.py"
    script.write_text(TWO_RANKS)

    done = compat([str(script), "--lr", "0.1"], tmp_path)

    assert done.returncode == 0, done.stderr
    told = sorted(path.read_text() for path in tmp_path.glob("told-*"))
    assert told == [f"{rank} 2 engine.compat.legacy.trainer {script} --lr 0.1" for rank in range(2)]


def test_a_lightning_cli_runs_as_it_is(tmp_path: Path) -> None:
    """Verb, YAML file, arguments by name, links and defaults; a wrong name has its nearest."""
    (tmp_path / "run.yaml").write_text(
        "model: {lr: 1.0}\n"
        "stopping: {patience: 7}\n"
        "trainer:\n"
        "  callbacks:\n"
        "  - class_path: pytorch_lightning.callbacks.ModelCheckpoint\n"
        "    init_args: {monitor: val_loss}\n"
    )
    script = str(OLD / "cli.py")
    words = ["--config", "run.yaml", "--model.lr", "1e-3", "--data.batch_size=8", "--note", "said"]

    done = compat([script, "fit", *words], tmp_path)
    wrong = compat([script, "--model.widht", "3"], tmp_path)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    folder = Path(found.pop("folder"))
    assert found == {
        "hparams": {"width": 8, "lr": 1e-3, "name": "of the callback"},
        "steps": 4,
        "tested": ["test_loss"],
        "patience": [7],
        "note": "said",
    }
    assert "width: 8" in (folder / "config.yaml").read_text()
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("no option --model.widht; did you mean --model.width?\n")


def test_modules_and_packages_run_too(tmp_path: Path) -> None:
    """`-m` finds a module in the working folder, and its `__main__` has its own spec."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "__init__.py").write_text("")
    (tmp_path / "job" / "train.py").write_text(
        "import sys, pytorch_lightning as pl\n"
        "print(pl.Trainer.__module__, __spec__.name, sys.argv[1:],"
        "sys.modules['__main__'].pl is pl)"
    )

    done = compat(["-m", "job.train", "--lr", "1"], tmp_path)

    assert done.stdout.split(maxsplit=2) == [
        "engine.compat.legacy.trainer", "job.train", "['--lr', '1'] True\n",
    ]  # fmt: skip


def test_a_traceback_begins_in_the_program(tmp_path: Path) -> None:
    """None of our own frames stands above it, and the exit code is python's."""
    script = tmp_path / "train.py"
    script.write_text("import pytorch_lightning\n\ndef main():\n    1 / 0\n\nmain()\n")

    done, plain = compat([str(script)], tmp_path), run(["-c", "1 / 0"], tmp_path)

    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "Traceback (most recent call last):",
        f'  File "{script}", line 6, in <module>',
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert done.returncode == plain.returncode == 1


def test_wrong_words_say_how_it_is_called(tmp_path: Path) -> None:
    """An unknown name, a script that is not there, and an engine.py of the program's own."""
    (tmp_path / "engine.py").write_text("")
    (tmp_path / "train.py").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = [
        run(["-m", "engine.compat", *words], elsewhere)
        for words in (
            ["keras", "train.py"],
            ["pytorch_lightning", "nowhere.py"],
            ["pytorch_lightning"],
            ["pytorch_lightning", str(tmp_path / "train.py")],
        )
    ]

    assert [one.returncode for one in said] == [2] * 4
    assert "unknown name 'keras'" in said[0].stderr and "usage: python -m" in said[0].stderr
    assert "can't open 'nowhere.py'" in said[1].stderr
    assert "usage: python -m engine.compat" in said[2].stderr
    assert f"{tmp_path / 'engine.py'} is called `engine`" in said[3].stderr
