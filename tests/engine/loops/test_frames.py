"""The way from `fit` to one's own training step is one that can be read."""

from __future__ import annotations

import traceback

import pytest
import torch

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
