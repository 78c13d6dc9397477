"""ModelCheckpoint in a real training: which files are left, and what they hold."""

import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from engine.callbacks import Callback, ModelCheckpoint
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.scripted import Scripted, trainer_for

SCORES = [0.5, 0.3, 0.4, 0.2, 0.6]


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def step_in(path: str | Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def fit(folder: Path, checkpoint: ModelCheckpoint, scores=SCORES, **options):
    """Train one epoch of 4 steps for each score."""
    trainer = trainer_for(folder, checkpoint, **{"max_epochs": len(scores), **options})
    trainer.fit(Scripted(scores, name="val_loss"))
    return trainer


def test_the_three_best_and_the_newest(tmp_path):
    """S122, S204, S207: the tutorial's callback leaves the tutorial's names, and last.ckpt."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path,
        monitor="val_loss",
        filename="sample-mnist-{epoch:02d}-{val_loss:.2f}",
        save_top_k=3,
        mode="min",
        save_last=True,
    )
    fit(tmp_path, checkpoint)

    assert files_in(tmp_path) == {
        "sample-mnist-epoch=01-val_loss=0.30.ckpt",
        "sample-mnist-epoch=02-val_loss=0.40.ckpt",
        "sample-mnist-epoch=03-val_loss=0.20.ckpt",
        "last.ckpt",
    }
    assert Path(checkpoint.best_model_path).name == "sample-mnist-epoch=03-val_loss=0.20.ckpt"
    assert Path(checkpoint.best_model_path).is_file()
    assert Path(checkpoint.kth_best_model_path).name == "sample-mnist-epoch=02-val_loss=0.40.ckpt"
    assert checkpoint.best_model_score.item() == pytest.approx(0.2)
    assert checkpoint.current_score.item() == pytest.approx(0.6)
    assert step_in(checkpoint.best_model_path) == 16
    # The last epoch was the worst: last.ckpt is the newest all the same, in a file of its own.
    assert step_in(tmp_path / "last.ckpt") == 20
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert checkpoint.last_model_path == str(tmp_path / "last.ckpt")


def test_the_best_three_by_accuracy(tmp_path):
    """S205: names with four digits, weights only, the largest three; with validation in every other
    epoch none is judged by an older value, with two in an epoch each by the value at its end.
    """
    options = {
        "filename": "{epoch:02d}-{val_acc:.4f}",
        "save_top_k": 3,
        "monitor": "val_acc",
        "mode": "max",
        "save_weights_only": True,
        "save_on_train_epoch_end": True,
    }
    trainer = trainer_for(tmp_path, ModelCheckpoint(tmp_path / "each", **options), max_epochs=5)
    trainer.fit(Scripted([0.5, 0.75, 0.25, 0.875, 0.65625], name="val_acc"))
    assert files_in(tmp_path / "each") == {
        "epoch=01-val_acc=0.7500.ckpt",
        "epoch=03-val_acc=0.8750.ckpt",
        "epoch=04-val_acc=0.6562.ckpt",
    }
    assert "optimizer_states" not in torch.load(trainer.checkpoint_callback.best_model_path)
    second = ModelCheckpoint(tmp_path / "other", **options)
    trainer = trainer_for(tmp_path, second, max_epochs=6, check_val_every_n_epoch=2)
    trainer.fit(Scripted([0.5, 0.75, 0.25], name="val_acc"))
    assert files_in(tmp_path / "other") == {
        "epoch=01-val_acc=0.5000.ckpt",
        "epoch=03-val_acc=0.7500.ckpt",
        "epoch=05-val_acc=0.2500.ckpt",
    }
    third = ModelCheckpoint(tmp_path / "twice", **options)
    trainer = trainer_for(tmp_path, third, max_epochs=2, val_check_interval=0.5)
    trainer.fit(Scripted([0.5, 0.25, 0.75, 0.125], name="val_acc"))
    assert files_in(tmp_path / "twice") == {
        "epoch=00-val_acc=0.2500.ckpt",
        "epoch=01-val_acc=0.1250.ckpt",
    }


def test_without_a_monitor_the_newest_stays(tmp_path):
    """S203: by default one file is kept, that of the last epoch, in the folder of the run."""
    checkpoint = ModelCheckpoint()
    fit(tmp_path, checkpoint)

    assert files_in(tmp_path) == {"checkpoints/epoch=4-step=20.ckpt"}
    assert checkpoint.best_model_path == str(tmp_path / "checkpoints" / "epoch=4-step=20.ckpt")


def test_all_or_none(tmp_path):
    """S122: save_top_k=-1 keeps every epoch, 0 keeps none."""
    fit(tmp_path, ModelCheckpoint(dirpath=tmp_path / "all", save_top_k=-1))
    none = ModelCheckpoint(dirpath=tmp_path / "none", save_top_k=0)
    fit(tmp_path, none)

    assert len(files_in(tmp_path / "all")) == 5
    assert files_in(tmp_path / "none") == set()
    assert none.best_model_path == ""


def test_max_mode_and_a_name_without_fields(tmp_path):
    """A fixed name is written again by the next better state, and stays the only file."""
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="best", monitor="val_loss", mode="max")
    fit(tmp_path, checkpoint)

    assert files_in(tmp_path) == {"best.ckpt"}
    assert step_in(tmp_path / "best.ckpt") == 20


def test_nan_is_never_the_best(tmp_path):
    """A state whose metric is NaN is never among the best; it can be the last."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path, filename="{epoch}", monitor="val_loss", save_top_k=2, save_last=True
    )
    fit(tmp_path, checkpoint, [math.nan, 0.5, math.nan])

    assert files_in(tmp_path) == {"epoch=1.ckpt", "last.ckpt"}
    assert step_in(tmp_path / "last.ckpt") == 12


def test_every_few_epochs(tmp_path):
    """every_n_epochs counts whole epochs; period is its name in 1.x."""
    for name in ("every_n_epochs", "period", "every_n_val_epochs"):
        folder = tmp_path / name
        fit(
            tmp_path,
            ModelCheckpoint(dirpath=folder, filename="{epoch}", save_top_k=-1, **{name: 2}),
        )
        assert files_in(folder) == {"epoch=1.ckpt", "epoch=3.ckpt"}


def test_every_few_steps(tmp_path):
    """every_n_train_steps counts optimizer steps across epochs, not batches."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3
    )
    fit(tmp_path, checkpoint, accumulate_grad_batches=2)  # 2 steps an epoch

    assert files_in(tmp_path) == {"step=3.ckpt", "step=6.ckpt", "step=9.ckpt"}
    assert step_in(tmp_path / "step=6.ckpt") == 6


def test_a_save_by_steps_waits_for_a_metric_of_its_state(tmp_path):
    """No state is judged by the validation of another one: the next validated state is saved.

    Validation runs at steps 4, 8, 12; steps 3, 6, 9 and 12 ask for a save.
    """
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path,
        filename="{step}-{val_loss:.1f}",
        monitor="val_loss",
        save_top_k=-1,
        save_last=True,
        every_n_train_steps=3,
    )
    seen_last = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen_last.append(step_in(tmp_path / "last.ckpt"))

    trainer = trainer_for(tmp_path, checkpoint, Watch(), max_epochs=3)
    trainer.fit(Scripted([0.5, 0.3, 0.4], name="val_loss"))

    assert files_in(tmp_path) == {
        "step=4-val_loss=0.5.ckpt",
        "step=8-val_loss=0.3.ckpt",
        "step=12-val_loss=0.4.ckpt",
        "last.ckpt",
    }
    assert step_in(checkpoint.best_model_path) == 8
    # What needs no metric does not wait.
    assert seen_last == [4, 8, 12]


def test_a_save_by_steps_takes_a_metric_of_the_step_itself(tmp_path):
    """A metric that training logs at every step is there at once, with the value of that step."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path,
        filename="{step}-{train_loss:.1f}",
        monitor="train_loss",
        save_top_k=-1,
        every_n_train_steps=3,
    )
    fit(tmp_path, checkpoint, [0.5])

    assert files_in(tmp_path) == {"step=3-train_loss=0.8.ckpt"}


def test_an_epoch_without_validation_is_not_judged_by_an_old_one(tmp_path):
    """With validation every second epoch, only validated states are among the best."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path,
        filename="{epoch:02d}-{val_loss:.4f}",
        monitor="val_loss",
        save_top_k=3,
        save_on_train_epoch_end=True,
    )
    fit(tmp_path, checkpoint, [0.5, 0.4], max_epochs=4, check_val_every_n_epoch=2)

    assert files_in(tmp_path) == {
        "epoch=01-val_loss=0.5000.ckpt",
        "epoch=03-val_loss=0.4000.ckpt",
    }


def test_several_validations_in_an_epoch_are_several_candidates(tmp_path):
    """With val_check_interval=0.5 the state of each validation counts."""
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="{step}", monitor="val_loss")
    fit(tmp_path, checkpoint, [0.5, 0.1, 0.4, 0.3], max_epochs=2, val_check_interval=0.5)

    assert files_in(tmp_path) == {"step=4.ckpt"}


def test_by_time(tmp_path):
    """An interval that is over at every step saves at every step; one that never ends, never."""
    often = ModelCheckpoint(
        dirpath=tmp_path / "often",
        filename="{step}",
        save_top_k=-1,
        train_time_interval=timedelta(),
    )
    assert not often._timer  # zero is off, as for the other intervals
    quick = ModelCheckpoint(
        dirpath=tmp_path / "quick",
        filename="{step}",
        save_top_k=-1,
        train_time_interval=timedelta(microseconds=1),
    )
    never = ModelCheckpoint(dirpath=tmp_path / "never", train_time_interval=timedelta(days=1))
    trainer_for(tmp_path, quick, never).fit(Scripted())

    assert files_in(tmp_path / "quick") == {f"step={step}.ckpt" for step in (1, 2, 3, 4)}
    assert files_in(tmp_path / "never") == set()


def test_a_missing_metric_says_what_was_logged(tmp_path):
    """The error names the monitor, what there is, and what is alike."""
    checkpoint = ModelCheckpoint(dirpath=tmp_path, monitor="val_los")

    with pytest.raises(MisconfigurationException, match=r"'val_los'.*train_loss, val_loss.*mean"):
        fit(tmp_path, checkpoint)


def test_files_of_another_run_stay(tmp_path):
    """A second run in the same folder writes beside the first one's files."""
    for _ in range(2):
        checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_last=True)
        fit(tmp_path, checkpoint, [0.5])

    assert files_in(tmp_path) == {"epoch=0.ckpt", "epoch=0-v1.ckpt", "last.ckpt", "last-v1.ckpt"}
    assert checkpoint.last_model_path == str(tmp_path / "last-v1.ckpt")


def test_a_resumed_run_goes_on_with_its_best(tmp_path):
    """After a resume the k best of both parts remain, and no name is used twice."""

    def callback() -> ModelCheckpoint:
        return ModelCheckpoint(
            dirpath=tmp_path,
            filename="{epoch}",
            monitor="val_loss",
            save_top_k=2,
            save_last=True,
        )

    fit(tmp_path, callback(), [0.3, 0.2, 0.9])
    second = callback()
    trainer = trainer_for(tmp_path, second, max_epochs=5)
    trainer.fit(Scripted([0.25, 0.8], name="val_loss"), ckpt_path=str(tmp_path / "last.ckpt"))

    assert files_in(tmp_path) == {"epoch=1.ckpt", "epoch=3.ckpt", "last.ckpt"}
    assert Path(second.best_model_path).name == "epoch=1.ckpt"
    assert step_in(tmp_path / "last.ckpt") == 20


def test_a_resume_that_keeps_fewer_deletes_nothing_that_is_there(tmp_path):
    """Files that were kept under save_top_k=-1 stay where a resumed run keeps one of its own."""
    options = {"dirpath": tmp_path, "filename": "{epoch}", "monitor": "val_loss"}
    fit(tmp_path, ModelCheckpoint(save_top_k=-1, **options), [0.3, 0.2, 0.4])
    second = ModelCheckpoint(save_top_k=1, **options)
    trainer_for(tmp_path, second, max_epochs=5).fit(
        Scripted([0.1, 0.5], name="val_loss"), ckpt_path=str(tmp_path / "epoch=2.ckpt")
    )
    assert files_in(tmp_path) == {"epoch=0.ckpt", "epoch=2.ckpt", "epoch=3.ckpt"}
    assert Path(second.best_model_path).name == "epoch=3.ckpt"


def test_a_resume_into_another_folder_deletes_nothing(tmp_path):
    """The first run's best counts for the second, but its files are not the second's to delete."""

    def callback(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(
            dirpath=tmp_path / folder, filename="{epoch}", monitor="val_loss", save_last=True
        )

    fit(tmp_path, callback("a"), [0.5])
    second = callback("b")
    trainer_for(tmp_path, second, max_epochs=3).fit(
        Scripted([0.9, 0.1], name="val_loss"), ckpt_path=str(tmp_path / "a" / "last.ckpt")
    )

    assert files_in(tmp_path / "a") == {"epoch=0.ckpt", "last.ckpt"}
    assert files_in(tmp_path / "b") == {"epoch=2.ckpt", "last.ckpt"}


def test_a_best_file_that_was_removed_is_not_the_best(tmp_path):
    """After a resume, a file that is no longer there makes room."""

    def callback() -> ModelCheckpoint:
        return ModelCheckpoint(
            dirpath=tmp_path, filename="{epoch}", monitor="val_loss", save_last=True
        )

    fit(tmp_path, callback(), [0.1])
    (tmp_path / "epoch=0.ckpt").unlink()
    second = callback()
    trainer_for(tmp_path, second, max_epochs=2).fit(
        Scripted([0.9], name="val_loss"), ckpt_path=str(tmp_path / "last.ckpt")
    )

    assert Path(second.best_model_path).name == "epoch=1.ckpt"


def test_nothing_is_saved_in_a_trial(tmp_path):
    """The sanity check, fast_dev_run and validate leave no file."""

    def callback() -> ModelCheckpoint:
        return ModelCheckpoint(
            dirpath=tmp_path, monitor="val_loss", save_last=True, save_on_train_epoch_end=False
        )

    checkpoint = callback()
    trainer_for(tmp_path, checkpoint, fast_dev_run=True).fit(Scripted(SCORES, name="val_loss"))
    trainer_for(tmp_path, checkpoint).validate(Scripted(SCORES, name="val_loss"))
    sanity_only = trainer_for(tmp_path, callback(), num_sanity_val_steps=2, max_epochs=0)
    sanity_only.fit(Scripted(SCORES, name="val_loss"))
    assert files_in(tmp_path) == set()

    trainer = trainer_for(tmp_path, checkpoint)
    trainer.fit(Scripted([0.5], name="val_loss"))
    before = checkpoint.best_model_score
    trainer.validate(Scripted([0.1], name="val_loss"))
    assert checkpoint.best_model_score == before


def test_a_second_fit_does_not_know_the_metrics_of_the_first(tmp_path):
    """A step of the second fit is not judged by the value that the first one had there."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path, filename="{step}-{val_loss:.1f}", every_n_train_steps=4, save_top_k=-1
    )
    fit(tmp_path, checkpoint, [0.5])
    with pytest.warns(UserWarning, match="shows 'val_loss'"):
        fit(tmp_path, checkpoint, [0.5], limit_val_batches=0)

    assert files_in(tmp_path) == {"step=4-val_loss=nan.ckpt", "step=4-val_loss=nan-v1.ckpt"}


def test_a_second_fit_saves_anew(tmp_path):
    """A callback that saw a first fit does not take the second one's states for saved ones."""
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    for _ in range(2):
        fit(tmp_path, checkpoint, [0.5])

    assert files_in(tmp_path) == {"epoch=0.ckpt", "epoch=0-v1.ckpt"}


@pytest.mark.parametrize("name", ["epoch", "step"])
def test_the_latest_by_number(tmp_path, name):
    """`monitor="epoch"` or "step", mode max: nobody has to log these."""
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path, monitor=name, mode="max", save_top_k=2, filename="{epoch}"
    )
    fit(tmp_path, checkpoint)

    assert files_in(tmp_path) == {"epoch=3.ckpt", "epoch=4.ckpt"}
