"""The way from `fit` to one's own training step is one that can be read."""

from __future__ import annotations

import traceback

import pytest
import torch

import engine
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def is_ours(path):
    return "/engine/" in path and "/tests/" not in path


class Deep(Toy):
    """Notes our frames above its training step."""

    def __init__(self):
        super().__init__()
        self.found = []

    def training_step(self, batch, batch_idx):
        self.found.append([f.name for f in traceback.extract_stack() if is_ours(f.filename)])
        return self.loss(batch)

    def training_step_end(self, output):
        return output


class Deeper(Deep):
    def training_step(self, batch, batch_idx, optimizer_idx, hiddens):
        return super().training_step(batch, batch_idx)

    def tbptt_split_batch(self, batch, split_size):
        return [batch, batch]

    def configure_optimizers(self):
        return [torch.optim.SGD(self.net[idx].parameters(), lr=0.1) for idx in (0, 3)]


class Steps:
    def optimizer_step(
        self, epoch, batch_idx, optimizer, idx, closure, on_tpu=False, amp=False, lbfgs=False
    ):
        optimizer.step(closure=closure)


class StepsItsOwnWay:
    def optimizer_step(
        self, epoch, batch_idx, optimizer, idx, closure, on_tpu=False, amp=False, lbfgs=False
    ):
        optimizer.step(closure=lambda: closure())


class DeepOverride(Steps, Deep): ...


class DeeperOverride(Steps, Deeper): ...


class DeepestOverride(StepsItsOwnWay, Deeper): ...


@pytest.mark.parametrize("kind", [Deep, Deeper, DeepOverride, DeeperOverride, DeepestOverride])
def test_from_fit_to_the_step_there_are_few_frames(tmp_path, kind):
    """One can read the way from `fit` to one's own training_step: at most 10 frames of ours, with
    mixed precision, clipping, `training_step_end`, several optimizers, truncated back-propagation
    and an `optimizer_step` of the module's."""
    model = kind()
    splits = {"truncated_bptt_steps": 1} if isinstance(model, Deeper) else {}
    options = {"precision": "bf16", "limit_train_batches": 1, "gradient_clip_val": 1.0}
    quiet(tmp_path, **options, **splits).fit(model, loader())
    assert len(model.found) == (4 if splits else 1)
    for frames in model.found:
        assert frames[0] == "fit"
        assert 3 <= len(frames) <= 10, frames


RANKS = """
import json, sys, warnings
warnings.simplefilter("ignore")
from tests.engine.loops import test_frames as frames

model = frames.DeeperOverride()
options = {"precision": "bf16", "limit_train_batches": 1, "gradient_clip_val": 1.0}
trainer = frames.quiet("run", truncated_bptt_steps=1, **options)
trainer.fit(model, frames.loader())
json.dump(model.found, open(sys.argv[1], "w"))
"""


def test_on_two_ranks_there_are_few_too(run_ranks):
    """With DistributedDataParallel at most 10 of ours lie between `fit` and the training step."""
    for found in run_ranks(RANKS):
        assert len(found) == 4
        for frames in found:
            assert frames[0] == "fit"
            assert len(frames[1:]) <= 10, frames


class Today(Toy):
    """Notes the files on the way to its steps and hooks, all written as today's API has them."""

    def __init__(self):
        super().__init__()
        self.files = {}

    def note(self, name):
        self.files[name] = {frame.filename for frame in traceback.extract_stack()}

    def training_step(self, batch, batch_idx):
        self.note("training_step")
        return self.loss(batch)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("validation_step")
        self.log("val_loss", self.loss(batch))

    def on_train_batch_start(self, batch, batch_idx):
        self.note("on_train_batch_start")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.note("on_train_batch_end")

    def on_train_epoch_start(self):
        self.note("on_train_epoch_start")

    def on_train_epoch_end(self):
        self.note("on_train_epoch_end")

    def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
        self.note("on_validation_batch_end")

    def on_validation_epoch_end(self):
        self.note("on_validation_epoch_end")

    def on_before_optimizer_step(self, optimizer):
        self.note("on_before_optimizer_step")

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        self.note("optimizer_step")
        optimizer.step(closure=optimizer_closure)

    def configure_optimizers(self):
        self.note("configure_optimizers")
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TodaysCallback(engine.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.note("callback")


def test_a_program_of_todays_api_never_passes_through_compat(tmp_path):
    """What 1.x needs lies beside the way of a program of 2.x, not on it."""
    model = Today()
    options = {"limit_train_batches": 1, "limit_val_batches": 1, "callbacks": [TodaysCallback()]}
    quiet(tmp_path, **options).fit(model, loader(), loader())
    assert len(model.files) == 12
    passed = {
        name: [file for file in files if "/engine/compat/" in file]
        for name, files in model.files.items()
    }
    assert passed == {name: [] for name in model.files}
    assert all(any(map(is_ours, files)) for files in model.files.values())
