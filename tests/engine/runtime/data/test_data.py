"""Which rank reads which samples, in which order: pure functions of seed, epoch and position."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from engine import MisconfigurationException
from engine.runtime.data.samplers import Stripe, Turns, begin_epoch, drawn, for_training, limited
from engine.runtime.distributed.world import World
from engine.runtime.seed import mix, random_state, reset_seed, seed_everything, set_random_state
from tests.engine.support.toy import Toy, loader, quiet, samples

sizes = st.integers(1, 40)
worlds = st.integers(1, 7)


@given(count=sizes, size=st.integers(1, 6), world=worlds, epoch=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_stripes_cover_every_sample(count, size, world, epoch):
    """All ranks have as many batches; a sample is repeated only where a rank would have none."""
    stripes = [Stripe(RandomSampler(range(count)), size, False, 5, r, world) for r in range(world)]
    for stripe in stripes:
        stripe.epoch = epoch
    batches = [list(stripe) for stripe in stripes]
    assert len({len(b) for b in batches} | {len(s) for s in stripes}) == 1
    taken = [i for rank in batches for batch in rank for i in batch]
    assert set(taken) == set(range(count))
    assert len(taken) - count < world
    if count % world == 0:
        assert len(taken) == count


@given(count=sizes, size=st.integers(1, 6), world=worlds, start=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_stripe_can_begin_anywhere(count, size, world, start):
    """What comes after a position does not depend on having read what is before it."""
    stripe = Stripe(RandomSampler(range(count)), size, False, 5, 0, world)
    whole = list(stripe)
    stripe.start = start
    assert list(stripe) == whole[start:]


@given(count=sizes, size=st.integers(1, 6), world=worlds)
@settings(max_examples=100, deadline=None)
def test_dropping_the_last_batch(count, size, world):
    """All batches are full, no sample comes twice."""
    source = SequentialSampler(range(count))
    stripes = [Stripe(source, size, True, 0, r, world) for r in range(world)]
    batches = [list(stripe) for stripe in stripes]
    assert {len(b) for b in batches} == {len(stripes[0])}
    taken = [i for rank in batches for batch in rank for i in batch]
    assert len(taken) == len(set(taken))
    assert all(len(batch) == size for rank in batches for batch in rank)


@given(count=sizes, size=st.integers(1, 6), world=worlds, shuffle=st.booleans())
@settings(max_examples=100, deadline=None)
def test_turns_deal_the_batches_of_one_process(count, size, world, shuffle):
    """Each batch goes to one rank, none is made twice or left out, whoever draws at random."""
    sampler = (RandomSampler if shuffle else SequentialSampler)(range(count))
    source = BatchSampler(sampler, size, drop_last=False)
    ranks = [Turns(source, 5, r, world) for r in range(world)]
    dealt = [list(turn) for turn in ranks]
    assert [len(d) for d in dealt] == [len(turn) for turn in ranks]
    taken = [i for rank in dealt for batch in rank for i in batch]
    assert sorted(taken) == list(range(count))
    if not shuffle:
        assert [dealt[i % world][i // world] for i in range(len(source))] == list(source)


def test_the_order_leaves_the_random_state_alone():
    """Drawing it neither depends on what was drawn before nor changes what is drawn after."""
    sampler = RandomSampler(range(20))
    before = torch.get_rng_state()
    first = drawn(sampler, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert drawn(sampler, 1, 0) == first
    assert drawn(sampler, 1, 1) != first
    assert drawn(sampler, 2, 0) != first


def test_a_samplers_own_generator_is_respected():
    """Its seed decides, and it is as before afterwards."""
    generator = torch.Generator().manual_seed(3)
    sampler = RandomSampler(range(20), generator=generator)
    state = generator.get_state()
    first = drawn(sampler, 1, 0)
    assert drawn(sampler, 2, 0) == first != drawn(sampler, 1, 1)
    assert torch.equal(generator.get_state(), state)


def test_the_users_own_sampling_stays():
    """A weighted sampler is striped as it draws; a DistributedSampler is left alone."""
    weighted = DataLoader(
        samples(8), sampler=WeightedRandomSampler([0.0] * 4 + [1.0] * 4, 8), batch_size=2
    )
    world = World(rank=0, world_size=2)
    changed = for_training(weighted, 0, world, replace_sampler=True)
    seen = [i for batch in changed for i in batch[2].tolist()]
    assert len(seen) == 4
    assert set(seen) <= {4, 5, 6, 7}
    own = DataLoader(samples(8), sampler=DistributedSampler(samples(8), 2, 0))
    assert for_training(own, 0, world, replace_sampler=True) is own
    assert for_training(weighted, 0, world, replace_sampler=False) is weighted
    begin_epoch(own, 0, epoch=3, rank=0)
    assert own.sampler.epoch == 3


def test_a_loader_of_any_class_keeps_its_class():
    """Whatever its __init__ takes: nothing is constructed anew."""

    class Mine(DataLoader):
        def __init__(self, word):
            super().__init__(samples(8), batch_size=2)
            self.word = word

    changed = for_training(Mine("x"), 0, World(rank=1, world_size=2), replace_sampler=True)
    assert (type(changed), changed.word, len(changed)) == (Mine, "x", 2)


@pytest.mark.filterwarnings("ignore:there is a validation_step")
def test_limits_and_shuffling(tmp_path):
    """S231, S232: other samples each epoch with shuffling, the same first ones without."""
    shuffled, ordered = Toy(), Toy()
    for model, shuffle in ((shuffled, True), (ordered, False)):
        quiet(tmp_path, max_epochs=8, limit_train_batches=2).fit(model, loader(shuffle=shuffle))
    assert len(set(shuffled.seen)) > 16
    assert ordered.seen == [*range(8)] * 8


@pytest.mark.filterwarnings("ignore:there is a validation_step")
def test_a_seed_makes_two_runs_equal(tmp_path):
    """S235: order and dropout too; another seed gives another order. Python, numpy and torch draw
    from it.
    """
    orders, draws = [], []
    for seed in (1, 1, 2):
        model = Toy(dropout=0.5)
        assert seed_everything(seed, verbose=False) == seed
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
        quiet(tmp_path).fit(model, loader(shuffle=True))
        orders.append((model.seen, model.net[0].weight.sum().item()))
    assert orders[0] == orders[1] != orders[2]
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[1], draws[2], strict=True))


def test_what_is_no_seed_is_replaced_with_a_warning(monkeypatch):
    """Without one, and in the place of a wrong one, a seed is drawn that is said and kept; a reset
    goes back to it, workers and all.
    """
    with pytest.warns(UserWarning, match="no seed was given") as said:
        drawn = seed_everything(verbose=False)
    assert str(drawn) in str(said[0].message)
    assert seed_everything(verbose=False) == drawn
    for wrong in (-1, 2**32, "many"):
        with pytest.warns(UserWarning, match="is no seed"):
            seed_everything(wrong, verbose=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "text")
    with pytest.warns(UserWarning, match="'text' is no seed"):
        seed_everything(verbose=False)
    seed_everything(3, workers=True, verbose=False)
    first = [random.random(), np.random.rand(), torch.rand(1).item()]
    reset_seed()
    assert [random.random(), np.random.rand(), torch.rand(1).item()] == first
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("3", "1")


def test_workers_are_seeded_by_rank_and_epoch():
    """S235: no two ranks augment alike, and an epoch's seed does not depend on what came before."""

    class Draws(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return torch.rand(1)

    def draw(epoch, rank):
        data = for_training(DataLoader(Draws(), num_workers=1), 5, World(), replace_sampler=True)
        begin_epoch(data, 5, epoch, rank)
        return next(iter(data)).item()

    assert draw(0, 0) == draw(0, 0)
    assert len({draw(0, 0), draw(0, 1), draw(1, 0)}) == 3


def test_random_state_can_be_kept_and_put_back():
    """That of python, numpy and torch."""
    state = random_state()
    first = (random.random(), np.random.rand(), torch.rand(1).item())
    set_random_state(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first
    assert mix(1, 2) != mix(2, 1) != mix(1, 3)


@pytest.mark.parametrize(
    ("total", "limit", "count"),
    [
        (10, 1.0, 10),
        (10, 0.25, 2),
        (10, 3, 3),
        (3, 10, 3),
        (10, 0, 0),
        (10, 0.0, 0),
        (float("inf"), 1.0, float("inf")),
    ],
)
def test_limits(total, limit, count):
    """A float is a share, an int a number."""
    assert limited(total, limit, "limit") == count


def test_a_share_of_the_unknown():
    """Is an error with the argument's name."""
    with pytest.raises(MisconfigurationException, match="limit_val_batches"):
        limited(float("inf"), 0.5, "limit_val_batches")
