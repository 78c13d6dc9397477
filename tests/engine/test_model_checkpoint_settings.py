"""What ModelCheckpoint keeps by its settings, and which settings contradict each other."""

import pytest
import torch
from scripted import Scripted, trainer_for

from engine.callbacks import ModelCheckpoint


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
    loaded = Scripted.load_from_checkpoint(tmp_path / "light" / "a.ckpt")
    assert torch.equal(loaded.weight, trainer.lightning_module.weight)


def test_settings_that_contradict_each_other(tmp_path):
    """Two triggers at once, or the best k of nothing, are errors at once."""
    with pytest.raises(ValueError, match="only one of"):
        ModelCheckpoint(every_n_train_steps=10, every_n_epochs=1)
    with pytest.raises(ValueError, match="needs a monitor"):
        ModelCheckpoint(save_top_k=3)
