"""What ModelCheckpoint keeps by its settings, and which settings contradict each other."""

import os
import warnings
from pathlib import Path

import pytest
import torch

from engine import MisconfigurationException
from engine.callbacks import ModelCheckpoint
from tests.engine.support.scripted import Scripted, trainer_for
from tests.engine.support.toy import Toy, loader, quiet, weights


def fit(folder: Path, checkpoint: ModelCheckpoint) -> None:
    """Train one epoch of 4 steps."""
    trainer_for(folder, checkpoint, max_epochs=1).fit(Scripted([0.5], name="val_loss"))


def test_weights_only(tmp_path):
    """S206: save_weights_only leaves out all but the weights, which load for inference."""
    full = ModelCheckpoint(dirpath=tmp_path / "full", filename="a")
    light = ModelCheckpoint(dirpath=tmp_path / "light", filename="a", save_weights_only=True)
    trainer = trainer_for(tmp_path, full, light)
    trainer.fit(Scripted())

    everything = torch.load(tmp_path / "full" / "a.ckpt", weights_only=True)
    weights = torch.load(tmp_path / "light" / "a.ckpt", weights_only=True)
    assert "optimizer_states" in everything
    assert "optimizer_states" not in weights
    assert "lr_schedulers" in everything and "callbacks" in everything
    assert not {"lr_schedulers", "callbacks"} & set(weights)
    assert torch.equal(everything["state_dict"]["weight"], weights["state_dict"]["weight"])
    given = {"scores": (), "name": "score", "batches": 4}  # which it does not save
    loaded = Scripted.load_from_checkpoint(tmp_path / "light" / "a.ckpt", **given)
    assert torch.equal(loaded.weight, trainer.lightning_module.weight)


@pytest.mark.parametrize("seldom", [{"val_check_interval": 100}, {"check_val_every_n_epoch": 5}])
def test_a_training_that_ends_before_its_first_validation_is_kept(tmp_path, seldom):
    """C14: an interval may be longer than the training; what was trained is saved at its end, and
    is as good to go on from as any. By a metric there is no best then, which is said."""

    def fit(folder, epochs, *callbacks, **options):
        model = Toy(dropout=0.5)
        options.update(seldom, callbacks=[*callbacks], enable_checkpointing=True)
        trainer = quiet(tmp_path / folder, max_epochs=epochs, **options)
        trainer.fit(model, loader(shuffle=True), loader())
        return trainer, model

    _, straight = fit("straight", 4)
    trainer, _ = fit("cut", 2)
    path = trainer.checkpoint_callback.best_model_path
    assert os.path.basename(path) == "epoch=1-step=12.ckpt"
    _, resumed = fit("resumed", 4, ModelCheckpoint(), resume_from_checkpoint=path)
    assert torch.equal(weights(straight), weights(resumed))

    best = ModelCheckpoint(monitor="val_loss", save_last=True)
    with pytest.warns(UserWarning, match="ended before its first validation"):
        fit("best", 2, best)
    assert best.best_model_path == "" and os.path.isfile(best.last_model_path)
    assert len(os.listdir(best.dirpath)) == 1
    several = ModelCheckpoint(save_top_k=-1)
    fit(
        "seen", 17, several
    )  # 102 steps: validated after 100 of them, or after the epochs 5, 10, 15
    kept = {"val_check_interval": 1, "check_val_every_n_epoch": 3}
    assert len(os.listdir(several.dirpath)) == kept[next(iter(seldom))]


def test_settings_that_contradict_each_other(tmp_path):
    """Two triggers at once, or the best k of nothing, are errors at once."""
    with pytest.raises(ValueError, match="only one of"):
        ModelCheckpoint(every_n_train_steps=10, every_n_epochs=1)
    with pytest.raises(MisconfigurationException, match="or -1 for all"):
        ModelCheckpoint(monitor="val_loss", save_top_k=-2)
    with pytest.raises(MisconfigurationException, match="mode must be one of"):
        ModelCheckpoint(monitor="val_loss", mode="least")
    with pytest.raises(ValueError, match="needs a monitor"):
        ModelCheckpoint(save_top_k=3)


def test_the_name_of_a_file_can_be_asked_for(tmp_path):
    """S204: with the values that it would have, and with a number; a class of one's own may name
    its files otherwise.
    """
    keeps = ModelCheckpoint(tmp_path, "sample-mnist-{epoch:02d}-{val_loss:.2f}")
    values = {"epoch": 2, "val_loss": torch.tensor(0.321)}
    first = str(tmp_path / "sample-mnist-epoch=02-val_loss=0.32")
    assert keeps.format_checkpoint_name(values) == f"{first}.ckpt"
    assert keeps.format_checkpoint_name(values, 3) == f"{first}-v3.ckpt"
    assert keeps.format_checkpoint_name(values, "{epoch}", ver=1) == str(
        tmp_path / "epoch=2-v1.ckpt"
    )

    class Named(ModelCheckpoint):
        def format_checkpoint_name(self, metrics, ver=None):
            return os.path.join(self.dirpath, f"my-{metrics['epoch']}.ckpt")

    named = Named(tmp_path / "named", save_last=True, save_top_k=-1)
    trainer_for(tmp_path, named, max_epochs=2).fit(Scripted())
    assert sorted(os.listdir(tmp_path / "named")) == ["last.ckpt", "my-0.ckpt", "my-1.ckpt"]


def test_the_one_path_of_old_programs(tmp_path):
    """S204: `filepath` of 1.0 is folder and name in one, and its mode "auto" goes by the metric's
    name; a folder that is there has files of the usual name.
    """
    path = tmp_path / "kept" / "{epoch}-{val_acc:.1f}"
    keeps = ModelCheckpoint(filepath=path, monitor="val_acc", mode="auto", period=1, save_top_k=1)
    scores = [0.1, 0.5, 0.3]
    trainer_for(tmp_path, keeps, max_epochs=3).fit(Scripted(scores, name="val_acc"))
    assert os.listdir(tmp_path / "kept") == ["epoch=1-val_acc=0.5.ckpt"]
    assert (keeps.mode, float(keeps.kth_value)) == ("max", 0.5)
    there = ModelCheckpoint(filepath=tmp_path / "kept")
    assert there.dirpath == str(tmp_path / "kept") and there.filename == "{epoch}-{step}"


def test_a_typo_in_a_name_is_said(tmp_path):
    """A name that nothing was logged under is nan in the file's name, and said with what is alike;
    one whose value only comes later is not.
    """
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}-{val_los:.2f}")
    with pytest.warns(UserWarning, match=r"shows 'val_los', .* mean 'val_loss'\? It .* nan"):
        fit(tmp_path, checkpoint)
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"epoch=0-val_los=nan.ckpt"}

    early = ModelCheckpoint(
        dirpath=tmp_path / "early", filename="{step}-{val_loss:.2f}", every_n_train_steps=1,
        save_top_k=-1,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, early)
    assert (tmp_path / "early" / "step=1-val_loss=nan.ckpt").is_file()
    assert not [one for one in caught if "val_loss" in str(one.message)]
