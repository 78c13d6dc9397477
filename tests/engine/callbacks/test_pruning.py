"""Pruning: how much is zero, that it stays zero, and what a checkpoint holds."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune

from engine.callbacks import Callback, ModelCheckpoint, ModelPruning
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet, weights


def zeros(model):
    return float((weights(model) == 0).float().mean())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("l1_unstructured", {}),
        ("random_unstructured", {"use_global_unstructured": False, "resample_parameters": True}),
        (prune.L1Unstructured, {"use_lottery_ticket_hypothesis": False}),
    ],
)
def test_half_of_the_weights_are_zero(tmp_path, kind, options):
    """S220: after a fit the wanted share is zero, parameters are plain again, and a checkpoint
    that was saved meanwhile loads into an unpruned module."""
    model = Toy()
    pruning = ModelPruning(kind, amount=lambda epoch: 0.5 if epoch == 0 else 0, **options)

    class Saves(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    quiet(tmp_path, max_epochs=2, callbacks=[pruning, Saves()]).fit(model, loader(), loader())
    assert zeros(model) == pytest.approx(0.5, abs=0.03)
    assert sorted(model.state_dict()) == sorted(Toy().state_dict())
    kept = Toy.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(weights(kept), weights(model))
    again = quiet(tmp_path, max_epochs=3, callbacks=ModelPruning(kind, amount=0.5, **options))
    again.fit(kept, loader(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert zeros(kept) >= 0.45


def test_a_winning_ticket_begins_again(tmp_path, capsys):
    """S220: what is left goes back to where it began; how much is gone is said."""
    model, first = Toy(), weights(Toy())
    pruning = ModelPruning("l1_unstructured", amount=0.25, verbose=2)
    quiet(tmp_path, callbacks=pruning).fit(model, loader(), loader())
    left = weights(model) != 0
    assert torch.equal(weights(model)[left], first[left])
    said = capsys.readouterr().err
    assert "of Linear.weight" in said and "14/58 values are zero" in said


@pytest.mark.parametrize("lottery", [True, False], ids=["tickets", "weights"])
def test_a_resumed_run_prunes_on(tmp_path, lottery):
    """S208, S220: what was pruned stays so, and what is left goes back to the first beginning."""
    options = {"amount": 0.3, "use_lottery_ticket_hypothesis": lottery}
    keeps = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole, resumed = Toy(), Toy()
    pruning = ModelPruning("l1_unstructured", **options)
    trainer = quiet(tmp_path, enable_checkpointing=True, max_epochs=4, callbacks=[pruning, keeps])
    trainer.fit(whole, loader(), loader())
    with torch.no_grad():
        for parameter in resumed.parameters():  # another process may begin elsewhere
            parameter.mul_(2)
    callbacks = [ModelPruning("l1_unstructured", **options), ModelCheckpoint(tmp_path / "again")]
    again = quiet(tmp_path, enable_checkpointing=True, max_epochs=4, callbacks=callbacks)
    again.fit(resumed, loader(), loader(), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert torch.equal(weights(whole), weights(resumed))


def test_rows_are_pruned_and_arguments_checked(tmp_path):
    """S220: structured pruning takes whole rows; arguments that do not fit are explained."""
    model = Toy()
    rows = ModelPruning(
        "ln_structured",
        [(model.net[0], "weight")],
        use_global_unstructured=False,
        amount=0.5,
        pruning_dim=0,
        pruning_norm=1,
        prune_on_train_epoch_end=False,
    )
    quiet(tmp_path, callbacks=rows).fit(model, loader(), loader())
    assert int((model.net[0].weight == 0).all(1).sum()) == 4
    whole = Toy()  # of all layers, whose biases have no rows
    options = {"use_global_unstructured": False, "amount": 0.5, "pruning_dim": 0}
    pruning = ModelPruning("random_structured", **options)
    quiet(tmp_path, callbacks=pruning).fit(whole, loader(), loader())
    assert int((whole.net[0].weight == 0).all(1).sum()) == 4
    assert int((whole.net[0].bias == 0).sum()) == 0
    for arguments, words in [
        ({"pruning_fn": "l2"}, "there are l1_unstructured"),
        ({"pruning_fn": 3}, "a name or a class"),
        ({"pruning_fn": "ln_structured"}, "use_global_unstructured=False"),
        ({"pruning_fn": "ln_structured", "use_global_unstructured": False}, "pruning_dim"),
    ]:
        with pytest.raises(MisconfigurationException, match=words):
            ModelPruning(**arguments)
    trainer = quiet(tmp_path)
    with pytest.raises(MisconfigurationException, match="nothing to prune"):
        ModelPruning("l1_unstructured", parameter_names=["no"]).on_fit_start(trainer, model)
    trainer.strategy.holds_all = False
    with pytest.raises(MisconfigurationException, match="ModelPruning works on whole parameters"):
        rows.on_fit_start(trainer, model)
