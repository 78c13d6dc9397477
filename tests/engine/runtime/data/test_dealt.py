"""Data that can only be walked through, on several ranks: who reads what. Pure, in one process."""

from __future__ import annotations

import os
import pickle
import random
from array import array
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Sampler,
    get_worker_info,
)

from engine.runtime.data import samplers as data
from engine.runtime.data import streams as dealt
from engine.runtime.data.combined import CombinedLoader, begin_epoch, each
from engine.runtime.data.division import OF_RANKS, OF_WORKERS, digest, words_in
from engine.runtime.data.samplers import for_evaluation, for_training
from engine.runtime.data.streams import Dealt, Items, blocks, share
from engine.runtime.distributed.world import World


@pytest.fixture(autouse=True)
def _said_anew():
    dealt.say.cache_clear()


class Stream(IterableDataset):
    """So many numbers, in an order that is drawn from all that one can draw from."""

    def __init__(self, count, shuffles=False):
        self.count = count
        self.shuffles = shuffles
        self.epochs = []

    def __iter__(self):
        numbers = [*range(self.count)]
        if self.shuffles:
            random.shuffle(numbers)
            np.random.shuffle(numbers)
            numbers = [numbers[i] for i in torch.randperm(len(numbers))]
        yield from numbers

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


class Sized(Stream):
    def __len__(self):
        return self.count


class ByWorker(Sized):
    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        yield from range(first, self.count, step)


def flat(batches):
    return [i for batch in batches for i in (batch.tolist() if batch.dim() else [batch.item()])]


def divided(order, loader, ranks, epoch=0):
    """What each rank reads, and the length that its loader says."""
    found = []
    for rank in range(ranks):
        # What was drawn before, by each rank for itself, must not matter.
        torch.manual_seed(rank)
        random.seed(rank)
        np.random.seed(rank)
        mine = order(loader, 5, World(rank, rank, ranks), True)
        begin_epoch(mine, 5, epoch, rank)
        found.append((list(mine), data.length(mine)))
    return found


counts = st.integers(0, 40)


@given(count=counts, world=st.integers(2, 5), workers=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_rounds_of_items(count, world, workers):
    """No item twice, only those of an incomplete round left out, all ranks and workers of one
    number as many."""
    parts = [
        [[*share(range(count), rank, world, worker, workers)] for worker in range(workers)]
        for rank in range(world)
    ]
    taken = sorted(i for rank in parts for worker in rank for i in worker)
    assert taken == [*range(count - count % world)]
    for worker in range(workers):
        assert len({len(rank[worker]) for rank in parts}) == 1


@given(count=counts, size=st.integers(1, 5), workers=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_blocks_of_items(count, size, workers):
    """Workers that take blocks in turn make the batches of a single process."""
    parts = [[*blocks(range(count), size, worker, workers)] for worker in range(workers)]
    batches = [[one[i : i + size] for i in range(0, len(one), size)] for one in parts]
    turns = [one[number] for number in range(count) for one in batches if number < len(one)]
    assert turns == [[*range(count)][i : i + size] for i in range(0, count, size)]


@pytest.mark.parametrize("kind", [Stream, Sized, ByWorker])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_divided(kind, workers):
    """S234: in training all ranks have as many batches; in evaluation nothing is lost and nothing
    doubled, in the batches and the order of one rank that reads as many samples at a time."""
    loader = DataLoader(kind(23), batch_size=3, num_workers=workers)
    trained = divided(for_training, loader, 2)
    assert len(trained[0][0]) == len(trained[1][0])
    taken = [i for batches, _ in trained for i in flat(batches)]
    assert len(taken) == len(set(taken)) and 22 - workers <= len(taken) <= 22

    evaluated = divided(for_evaluation, loader, 2)
    assert sorted(i for batches, _ in evaluated for i in flat(batches)) == [*range(23)]
    in_turn = [
        batches[n].tolist() for n in range(8) for batches, _ in evaluated if n < len(batches)
    ]
    alone = DataLoader(kind(23), batch_size=3, num_workers=workers if kind is ByWorker else 0)
    assert in_turn == [batch.tolist() for batch in alone]

    for batches, length in [*trained, *evaluated]:
        exact = (
            len(batches) if kind is not ByWorker or not workers else pytest.approx(length, abs=2)
        )
        assert length == (float("inf") if kind is Stream else exact)


def test_what_is_drawn_at_random_is_drawn_alike():
    """All ranks have one order, another in each epoch, with workers and without; and the rest of
    the program draws as if nothing had been read."""
    for workers in (0, 2):
        loader = DataLoader(Stream(24, shuffles=True), batch_size=2, num_workers=workers)
        orders = []
        for epoch in (0, 1, 0):
            parts = divided(for_training, loader, 3, epoch)
            orders.append([flat(batches) for batches, _ in parts])
            if not workers:
                assert sorted(i for part in orders[-1] for i in part) == [*range(24)]
        assert orders[0] == orders[2] != orders[1]
    loader = for_training(loader, 5, World(0, 0, 2), True)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for _ in loader:
        assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_loader_of_another_kind_is_dealt_by_batches(kind):
    """A list, a tuple, an iterator of batches; also as a part of several loaders."""
    batches = [torch.tensor([float(n)]) for n in range(5)]
    made = lambda: kind(batches) if kind is not iter else (b for b in batches)  # noqa: E731
    for order, shares in ((for_training, ([0, 2], [1, 3])), (for_evaluation, ([0, 2, 4], [1, 3]))):
        for rank in (0, 1):
            mine = order(made(), 5, World(rank, rank, 2), True)
            assert flat(mine) == shares[rank]
        parts = CombinedLoader({"a": made(), "b": CombinedLoader([made()])}, "min_size")
        mine = each(parts, lambda _, one, order=order: order(one, 5, World(1, 1, 2), True))
        assert [(float(x["a"]), float(x["b"][0])) for x in mine] == [(n, n) for n in shares[1]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_a_distributed_sampler_of_ones_own_repeats_nothing(count, size, shuffle):
    """In evaluation; in training it is left as it is."""
    found = []
    for rank in range(4):
        sampler = DistributedSampler(range(count), 4, rank, shuffle=shuffle)
        loader = DataLoader(range(count), batch_size=size, sampler=sampler)
        assert for_training(loader, 5, World(rank, rank, 4), True) is loader
        assert for_evaluation(loader, 5, World(rank, rank, 4), False) is loader
        mine = for_evaluation(loader, 5, World(rank, rank, 4), True)
        read = list(mine)
        assert len(read) == len(mine)
        found += read if size is None else flat(read)
    assert sorted(found) == [*range(count)]


def test_a_stream_that_is_too_short_is_said():
    """Fewer batches than ranks: there is no step that all could take."""
    loader = for_training([torch.ones(1)], 5, World(1, 1, 2), True)
    assert len(loader) == 0
    with pytest.warns(UserWarning, match="no complete round of batches for 2 ranks"):
        assert list(loader) == []


def draws_too(items):
    """A collate function that draws, as one that crops or mixes does."""
    torch.rand(len(items)), random.random(), np.random.rand()
    return torch.tensor(items)


@pytest.mark.parametrize("collate", [None, draws_too])
def test_workers_that_deal_draw_alike(collate):
    """What shuffles itself is shuffled alike in all workers of all ranks: no sample is doubled, in
    an epoch of kept workers as in one of new ones, also after an epoch that was left early."""

    def begun(is_kept, rank):
        options = {"num_workers": 2, "persistent_workers": is_kept, "collate_fn": collate}
        loader = DataLoader(Stream(24, True), 2, **options)
        return for_training(loader, 5, World(rank, rank, 2), True)

    mine = [begun(True, rank) for rank in range(2)]
    orders = []
    for epoch in range(2):
        read = []
        for rank, loader in enumerate([*mine, begun(False, 0)]):
            begin_epoch(loader, 5, epoch, rank)
            read.append(flat(loader))
        assert sorted(read[0] + read[1]) == [*range(24)] and read[2] == read[0]
        orders.append(read)
        next(iter(mine[0]))  # rank zero alone reads some more
    assert orders[0] != orders[1]


class AsksInACall(Stream):
    def __iter__(self):
        yield from self.mine()

    def mine(self):
        return range(which_rank(), self.count, 2)


def which_rank():
    return torch.distributed.get_rank()


class ReadsTheEnvironment(Stream):
    def __iter__(self):
        yield from range(int(os.environ["RANK"]), self.count, int(os.environ["WORLD_SIZE"]))


class Shards(Stream):
    def shard(self, count, index):
        return self


class HasState(Stream):
    def state_dict(self):
        return {}


class Ranking(Stream):
    """Speaks of ranks that are none, where nobody reads it."""

    def __iter__(self):
        for rank in range(self.count):
            yield {"rank": rank}

    def show(self):
        return torch.distributed.get_rank()


class Prefetches:
    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return iter(self.loader)


class Repeats(Sampler):
    """A sampler that has its own way of dividing samples among ranks."""

    def __init__(self, count, rank):
        self.count, self.rank = count, rank

    def __iter__(self):
        return iter(range(self.rank, self.count, 2))

    def __len__(self):
        return self.count // 2


def by_worker(_):
    get_worker_info().dataset.count = 3


def test_what_divides_itself_is_left_alone(capsys):
    """A dataset that asks for its rank, in its class, in what it calls or what it is made of; or
    that can be told to divide itself. A line says what is done, and none if nothing is wanted."""
    two = World(0, 0, 2)
    wrapped = [partial(which_rank), (which_rank() for _ in range(2)), lambda: which_rank()]
    own = [AsksInACall(3), ReadsTheEnvironment(3), Shards(3), HasState(3)]
    for stream in own:
        loader = DataLoader(stream)
        assert for_training(loader, 0, two, True) is for_evaluation(loader, 0, two, True) is loader
        assert f"reads {type(stream).__name__} as it is, since it" in capsys.readouterr().err
    assert all(words_in(one) & OF_RANKS for one in wrapped)
    for plain in (Stream(3), Ranking(3)):
        assert not words_in(plain) & OF_RANKS
        assert isinstance(for_training(DataLoader(plain), 0, two, True), Dealt)
        said = capsys.readouterr().err
        assert f"{type(plain).__name__} is divided among 2 ranks" in said
        assert "use_distributed_sampler=False" in said and said.count("\n") == 1
    for loader in ([1, 2], DataLoader(Stream(3)), DataLoader(AsksInACall(3))):
        assert for_training(loader, 0, two, False) is for_training(loader, 0, World(), True)
        assert for_evaluation(loader, 0, two, False) is loader
    assert capsys.readouterr().err == ""


def test_a_sampler_that_asks_for_its_rank_is_used_as_it_is(capsys):
    """Also one that is no DistributedSampler, and in a batch sampler: it has divided already."""
    sampler, two = Repeats(8, 1), World(1, 1, 2)
    for loader in (
        DataLoader(range(8), sampler=sampler),
        DataLoader(range(8), batch_sampler=BatchSampler(sampler, 2, False)),
    ):
        for order in (for_training, for_evaluation):
            assert flat(order(loader, 5, two, True)) == [1, 3, 5, 7]
    assert "Repeats asks for its rank" in capsys.readouterr().err


class Table:
    """As those that are not made in Python: it shows what it holds by its text alone."""

    __slots__ = ("_number",)

    def __init__(self, number):
        self._number = number

    def __getitem__(self, index):
        return self._number

    def __repr__(self):
        return f"<Table of {self._number} at {id(self):#x}>"


def test_ranks_with_other_data_are_told_apart(tmp_path):
    """What ranks hold is compared without being read: files, tensors, closures, generators, tables,
    iterators."""

    def closure(number):
        return lambda: number

    def generated(number):
        yield number

    for make in (
        lambda n: [torch.arange(8) + n],
        lambda n: Stream(n),
        lambda n: DataLoader(torch.arange(8.0) + n),
        lambda n: {"files": [f"{n}.tar"]},
        closure,
        generated,
        lambda n: partial(max, n),
        lambda n: np.arange(4) + n,
        lambda n: random.Random(n),
        lambda n: torch.Generator().manual_seed(n),
        lambda n: {n},
        lambda n: Stream(Table(n)),
        lambda n: Stream(array("i", [n])),
        lambda n: Stream((tmp_path / f"{n}.txt").open("w")),
        *(lambda n, f=f: f([n, 4]) for f in (iter, enumerate, zip, partial(map, str), chain)),
        lambda n: Prefetches(DataLoader(range(8), sampler=DistributedSampler(range(8), 3, n))),
    ):
        assert digest(make(1)) == digest(make(1)) != digest(make(2))
    many = [torch.zeros(4)] * 100_000
    assert digest(many) == digest(list(many))


def test_a_dataset_is_itself_to_whoever_asks():
    """Attributes can be read and set through it, also by `worker_init_fn`, as torch documents;
    `set_epoch` arrives; it can be sent to a worker."""
    stream = Stream(23)
    mine = for_training(DataLoader(stream), 5, World(1, 1, 2), True)
    begin_epoch(mine, 5, 3, 1)
    assert stream.epochs == [3] and mine.dataset.count == 23 and mine.batch_size == 1
    begin_epoch(stream, 5, 4, 0)  # given in the place of a loader
    assert stream.epochs == [3, 4]
    mine.dataset.count = 8
    assert stream.count == 8 and flat(mine) == [1, 3, 5, 7]
    again = pickle.loads(pickle.dumps(mine.dataset))
    assert type(again) is Items and [*again] == [1, 3, 5, 7]
    with pytest.raises(TypeError):
        len(again)

    assert words_in(by_worker) & OF_WORKERS
    loader = DataLoader(Stream(23), num_workers=2, worker_init_fn=by_worker)
    assert flat(for_training(loader, 5, World(0, 0, 2), True)) == [0, 0]  # of 3, in each worker
