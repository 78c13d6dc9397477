"""Fine-tuning: what is frozen, when it learns, and that a resumed run goes on alike."""

from __future__ import annotations

import pytest
import torch

from engine import LightningModule
from engine.callbacks import BackboneFinetuning, BaseFinetuning, Callback
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import loader, quiet, weights


class Transfer(LightningModule):
    """A backbone with batch norm, and a head; a scheduler of lambdas, which counts groups."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.backbone = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
        self.head = torch.nn.Linear(3, 2)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def configure_optimizers(self):
        learning = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learning, lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)]


class Watch(Callback):
    def __init__(self):
        self.backbone, self.rates = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.backbone.append(weights(pl_module.backbone))
        self.rates.append([g["lr"] for g in trainer.optimizers[0].param_groups])
        if trainer.current_epoch == 2:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/a.ckpt")


def finetuned(folder, path=None, **options):
    watch, model = Watch(), Transfer()
    backbone = BackboneFinetuning(1, train_bn=False, backbone_initial_lr=0.01, **options)
    trainer = quiet(folder, max_epochs=4, callbacks=[watch, backbone])
    trainer.fit(model, loader(), ckpt_path=path)
    return watch, model


def test_a_backbone_is_frozen_and_thawed(tmp_path):
    """Until its epoch it does not change; from there on it learns at a rate that grows, and a run
    that is resumed after that ends with the same weights, to the last bit."""
    first = weights(Transfer().backbone)
    watch, model = finetuned(tmp_path)
    assert torch.equal(watch.backbone[0], first)
    assert not torch.equal(watch.backbone[1], first)
    assert [len(rates) for rates in watch.rates] == [1, 2, 2, 2]
    # Lambdas are of the rates that the groups began with.
    assert watch.rates[1] == pytest.approx([0.1 * 0.5**2, 0.01 * 0.5**2])
    again, resumed = finetuned(tmp_path, tmp_path / "a.ckpt")
    assert again.rates == watch.rates[3:]
    assert torch.equal(weights(model), weights(resumed))


def test_what_is_frozen():
    """By layers, with or without batch norm; and no parameter is given to an optimizer twice."""
    model = Transfer()
    BaseFinetuning.freeze(model.backbone, train_bn=True)
    assert [p.requires_grad for p in model.backbone.parameters()] == [False, False, True, True]
    BaseFinetuning.freeze_module(model.backbone)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    optimizer = torch.optim.SGD(model.head.parameters(), lr=1.0)
    BaseFinetuning.unfreeze_and_add_param_group(model.backbone, optimizer, train_bn=False)
    assert len(optimizer.param_groups[1]["params"]) == 2
    assert optimizer.param_groups[1]["lr"] == 0.1
    with pytest.warns(UserWarning, match="in the optimizer already"):
        BaseFinetuning.unfreeze_and_add_param_group([model.head], optimizer)
    with pytest.raises(MisconfigurationException, match=r"self\.backbone"):
        BackboneFinetuning().freeze_before_training(torch.nn.Linear(1, 1))


def test_thawed_layers_learn_from_all_ranks(run_ranks):
    """What was frozen when the ranks came together is averaged once it is thawed."""
    one, other = run_ranks("""
import json, sys
from engine import Trainer
from tests.engine.callbacks.test_finetuning import *
model = Transfer()
Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
    accumulate_grad_batches=2, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=BackboneFinetuning(1)).fit(model, loader())
json.dump(weights(model).tolist(), open(sys.argv[1], "w"))
""")
    assert one == other
