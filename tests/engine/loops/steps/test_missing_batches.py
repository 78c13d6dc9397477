"""A loader whose `collate_fn` returns None: that batch is skipped."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from engine.loops.steps.missing import say_missing
from tests.engine.support.toy import Toy, quiet, samples, weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:there is a validation_step", "ignore:the training loader gave None"
)


@pytest.fixture(autouse=True)
def _not_said_yet():
    say_missing.cache_clear()


def holey(*missing, count=24):
    """Batches of four samples, of which some are None."""

    def collate(items):
        batch = default_collate(items)
        return None if int(batch[2][0]) // 4 in missing else batch

    return DataLoader(samples(count), batch_size=4, collate_fn=collate)


class Noting(Toy):
    def __init__(self):
        super().__init__()
        self.evaluated = []

    def on_train_batch_start(self, batch, batch_idx):
        assert batch is not None

    def validation_step(self, batch, batch_idx):
        self.evaluated.append(batch_idx)
        return super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.evaluated.append(batch_idx)
        return super().test_step(batch, batch_idx)


def test_a_batch_that_is_none_is_skipped(tmp_path):
    """In training there is no step for it, in validation and test no call; it is said once."""
    module = Noting()
    trainer = quiet(tmp_path, max_epochs=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(module, holey(0, 3, 5), holey(1, 2, count=12))

    kinds = [str(one.message).split()[1] for one in said if "place of a batch" in str(one.message)]
    assert sorted(kinds) == ["training", "validation"]
    assert trainer.global_step == 6 and trainer.state.progress.total_batches == 12
    assert sorted(set(module.seen)) == [*range(4, 12), *range(16, 20)]
    assert module.evaluated == [0, 0]

    plain, module = Toy(), Noting()
    order = DataLoader(torch.utils.data.Subset(samples(), module_order()), batch_size=4)
    quiet(tmp_path).fit(plain, order)
    quiet(tmp_path).fit(module, holey(0, 3, 5))
    assert torch.equal(weights(plain), weights(module))

    module.evaluated = []
    with pytest.warns(UserWarning, match="the test loader"):
        quiet(tmp_path).test(module, holey(0, 2, count=12), verbose=False)
    assert module.evaluated == [1]


def module_order():
    """The samples that `holey(0, 3, 5)` has."""
    return [*range(4, 12), *range(16, 20)]


def test_a_batch_that_is_none_by_hand_and_in_splits(tmp_path):
    """A module that steps by hand, and one that learns from sequences, skip it alike."""

    class ByHand(Toy):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    class Sequences(Toy):
        truncated_bptt_steps = 2

        def tbptt_split_batch(self, batch, split_size):
            return [batch, batch]

        def training_step(self, batch, batch_idx, hiddens):
            return {"loss": self.loss(batch), "hiddens": None}

    for kind in (ByHand, Sequences):
        trainer = quiet(tmp_path, limit_val_batches=0)
        trainer.fit(kind(), holey(0, 5))
        assert trainer.global_step == 4
