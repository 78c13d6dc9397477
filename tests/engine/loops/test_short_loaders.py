"""Loaders whose `len()` promises more batches than come, or fewer: an epoch ends with its data."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from engine.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from engine.runtime.data.combined import CombinedLoader
from engine.runtime.data.lengths import is_exact
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

PROMISED, COME = 10, 6  # batches


class Stream(IterableDataset):
    """Says another number of samples than it yields."""

    def __init__(self, come=COME * 4, promised=PROMISED * 4):
        self.come, self.promised = come, promised

    def __len__(self):
        return self.promised

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        data = samples(self.come)
        return iter([data[i] for i in range(first, self.come, step)])


class Theirs:
    """A loader that is no torch DataLoader."""

    def __init__(self, inner, promised=PROMISED):
        self.inner, self.promised = inner, promised

    def __len__(self):
        return self.promised

    def __iter__(self):
        return iter(self.inner)


class Unsaid(Theirs):
    def __len__(self):
        raise TypeError("it does not say")


class Ahead(DataLoader):
    """One of torch's whose length is estimated anew."""

    def __len__(self):
        return PROMISED


class Picks(Sampler):
    """A sampler that leaves out what it finds too long, and can't say so beforehand."""

    def __init__(self, come=COME * 4, promised=PROMISED * 4):
        self.come, self.promised = come, promised

    def __len__(self):
        return self.promised

    def __iter__(self):
        return iter(range(self.come))


class Buckets(BatchSampler):
    def __len__(self):
        return PROMISED


def buckets():
    return DataLoader(samples(24), batch_sampler=Buckets(Picks(promised=24), 4, False))


def combined():
    return {"a": DataLoader(Stream(), batch_size=4), "b": loader(8)}


KINDS = {
    "stream": lambda: (DataLoader(Stream(), batch_size=4), {}),
    "theirs": lambda: (Theirs(loader()), {}),
    "subclass": lambda: (Ahead(samples(24), batch_size=4), {}),
    "sampler": lambda: (DataLoader(samples(40), batch_size=4, sampler=Picks()), {}),
    "their sampler": lambda: (
        DataLoader(samples(40), batch_size=4, sampler=Picks()),
        {"use_distributed_sampler": False},
    ),
    "batch sampler": lambda: (buckets(), {}),
    "combined": lambda: (combined(), {}),
    "unknown, limited": lambda: (Unsaid(loader()), {"limit_train_batches": PROMISED}),
}


class Notes(Toy):
    """Notes what happens, and has a schedule by epochs."""

    def __init__(self):
        super().__init__()
        self.events, self.last = [], []

    def training_step(self, batch, batch_idx):
        if isinstance(batch, dict):
            batch = batch["a"]
        if self.trainer.is_last_batch:
            self.last.append(self.trainer.state.progress.total_batches)
        return super().training_step(batch, batch_idx)

    def on_validation_end(self):
        self.events.append((self.global_step, self.trainer.state.progress.total_batches))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def fitted(folder, data, **options):
    keeps, stops = ModelCheckpoint(folder, "val_loss"), EarlyStopping("val_loss", patience=2)
    module = Notes()
    more = {"max_epochs": 3, "accumulate_grad_batches": 4, "enable_checkpointing": True}
    trainer = quiet(folder, callbacks=[keeps, stops], **{**more, **options})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, data, loader(8))
    said = [str(one.message) for one in caught if "promises" in str(one.message)]
    return trainer, module, said


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_ends_when_its_data_ends(tmp_path, kind):
    """As with a loader that says the truth: the last batch is known as such, the last window is
    stepped, validation, schedulers, callbacks and counts follow; one line says what was promised.
    """
    honest, right, nothing = fitted(tmp_path / "honest", loader())
    data, options = KINDS[kind]()
    trainer, module, said = fitted(tmp_path / kind, data, **options)
    assert torch.equal(weights(module), weights(right))
    assert module.events == right.events == [(2, 6), (4, 12), (6, 18)]
    assert module.last == right.last == [5, 11, 17]
    rates = [one.optimizers[0].param_groups[0]["lr"] for one in (trainer, honest)]
    assert rates == [0.125, 0.125]
    stops = [one.early_stopping_callback.state_dict() for one in (trainer, honest)]
    assert stops[0] == stops[1] and stops[0]["best_score"] is not None
    assert trainer.checkpoint_callback.best_model_path.startswith(str(tmp_path / kind))
    assert trainer.num_training_batches == COME
    assert not nothing and len(said) == (kind != "unknown, limited")
    assert not said or "training loader promises 10 batches, and 6 came" in said[0]


@pytest.mark.parametrize(
    ("interval", "at"), [(1.0, [6, 12]), (0.5, [5, 6, 11, 12]), (4, [4, 10]), (8, [6, 12])]
)
def test_an_interval_of_what_was_promised(tmp_path, interval, at):
    """A share of the promised batches ends where the data ends, and so does a number that the epoch
    never comes to; another number counts what comes.
    """
    data = DataLoader(Stream(), batch_size=4)
    module = fitted(tmp_path, data, val_check_interval=interval, max_epochs=2)[1]
    assert [batches for _, batches in module.events] == at


def test_workers_that_leave_out_what_is_incomplete(tmp_path):
    """What torch itself only estimates: each of two workers drops its last samples."""
    data = DataLoader(Stream(22, 22), batch_size=4, num_workers=2, drop_last=True)
    assert len(data) == 5
    _, module, said = fitted(tmp_path, data, max_epochs=1, accumulate_grad_batches=1)
    assert module.events == [(4, 4)] and module.last == [3]
    assert "promises 5 batches, and 4 came" in said[0]


def test_a_resumed_run_knows_where_the_data_ended(tmp_path):
    """From a checkpoint on the last batch, or before: what is due there is done."""
    data = DataLoader(Stream(), batch_size=4)

    keeps = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    whole = Notes()
    options = {"max_epochs": 2, "enable_checkpointing": True}
    with pytest.warns(UserWarning, match="promises"):
        quiet(tmp_path, callbacks=keeps, **options).fit(whole, data, loader(8))
    for step in (5, 6, 12):
        again, options = Notes(), {"max_epochs": 2}
        with pytest.warns(UserWarning):
            path = tmp_path / f"step={step}.ckpt"
            quiet(tmp_path, **options).fit(again, data, loader(8), ckpt_path=path)
        assert again.events == [event for event in whole.events if event[0] >= step]
        assert torch.equal(weights(again), weights(whole))


def test_a_loader_that_gives_nothing_ends_its_epochs(tmp_path):
    """No batch at all in the place of those promised: said, and the fit ends."""
    trainer, module, said = fitted(tmp_path, DataLoader(Stream(0), batch_size=4))
    assert (trainer.global_step, trainer.current_epoch, len(said)) == (0, 3, 1)
    assert module.events == []


def test_evaluation_counts_what_came(tmp_path, capsys):
    """Validation, test and prediction: all that comes, one line for each loader, and the true
    numbers in the bar and on the trainer.
    """
    data = [DataLoader(Stream(8), batch_size=4), loader(8), Theirs(loader(4), 3)]
    trainer = quiet(tmp_path, enable_progress_bar=True, callbacks=ProgressBar())

    class Many(Toy):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return len(batch[2])

    module = Many()
    with pytest.warns(UserWarning) as caught:
        trainer.validate(module, data, verbose=False)
        trainer.validate(module, data, verbose=False)
        trainer.test(module, data, verbose=False)
        predicted = trainer.predict(module, data)
    said = [str(one.message) for one in caught if "promises" in str(one.message)]
    assert [" ".join(line.split()[4:7]) for line in said] == [
        f"{verb} loader{end}"
        for verb in ("validation", "test", "predict")
        for end in (" promises", " 2")
    ]
    assert predicted == [[4, 4], [4, 4], [4]]
    counts = (trainer.num_val_batches, trainer.num_test_batches, trainer.num_predict_batches)
    assert counts == ([2, 2, 1],) * 3
    assert capsys.readouterr().err.count("5 batches") == 4


def test_a_loader_that_promises_fewer(tmp_path):
    """Its `len()` is where an epoch ends: nothing is read beyond, as from an endless stream."""

    class Endless(IterableDataset):
        read = 0

        def __len__(self):
            return 12

        def __iter__(self):
            data = samples()
            while True:
                for sample in data:
                    self.read += 1
                    yield sample

    stream = Endless()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer, module = quiet(tmp_path, max_epochs=2), Notes()
        trainer.fit(module, DataLoader(stream, batch_size=4), loader(8))
    assert (stream.read, module.last) == (24, [2, 5])


@pytest.mark.parametrize("given", ["map-style", "random", "list", "their sampler, our order"])
@pytest.mark.filterwarnings("ignore:the len.. of the training loader promises 8")
def test_what_is_known_is_not_read_ahead(tmp_path, given):
    """Where the number of batches follows from the indices, a batch is read when its turn comes."""
    read, steps = [], []

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 24

        def __getitem__(self, index):
            read.append(index)
            return samples()[index]

    class Watch(Toy):
        def training_step(self, batch, batch_idx):
            steps.append((batch_idx, len(read)))
            return super().training_step(batch, batch_idx)

    data = {
        "map-style": lambda: DataLoader(Data(), batch_size=4),
        "random": lambda: DataLoader(Data(), batch_size=4, shuffle=True),
        "list": lambda: list(loader()),
        "their sampler, our order": lambda: DataLoader(Data(), 4, sampler=Picks(24, 30)),
    }[given]()
    quiet(tmp_path, limit_val_batches=0).fit(Watch(), data, loader(8))
    assert steps == [(i, 0 if given == "list" else 4 * (i + 1)) for i in range(COME)]


def test_which_lengths_are_known():
    """Torch's own loaders over indices; not streams, others' loaders and samplers."""
    assert is_exact(loader()) and is_exact([1]) and is_exact(CombinedLoader([loader(), loader()]))
    for kind in ("stream", "theirs", "subclass", "sampler", "batch sampler"):
        data = KINDS[kind]()[0]
        assert not is_exact(data) and not is_exact(CombinedLoader([loader(), data]))


RANKS = """
import json, sys
import torch
from tests.engine.loops.test_short_loaders import *

class Half(Stream):
    def __iter__(self):
        rank = torch.distributed.get_rank()
        data = samples(48)
        return iter([data[i] for i in range(rank, 48, 2)])

def run(data, **options):
    module = Notes()
    ranks = {"strategy": "ddp", "devices": 2, "accumulate_grad_batches": 4}
    trainer = quiet(".", max_epochs=2, **ranks, **options)
    trainer.fit(module, data, loader(8))
    return [module.events, module.last, trainer.num_training_batches, weights(module).tolist()]

mine = {"use_distributed_sampler": False}
json.dump(
    [
        run(loader(48)),
        run(DataLoader(Half(), batch_size=4), **mine),
        run(DataLoader(samples(80), batch_size=4, sampler=Picks(48, 80))),
        run(DataLoader(samples(48), batch_sampler=Buckets(Picks(46, 48), 4, True))),
    ],
    open(sys.argv[1], "w"),
)
"""


def test_ranks_end_together(run_ranks):
    """Streams and samplers that promise too much: each rank ends its epoch after the same batch,
    and learns what it does with loaders that say the truth.
    """
    for found in run_ranks(RANKS):
        honest, stream, sampler, batches = found
        assert honest[:3] == [[[2, 6], [4, 12]], [5, 11], COME]
        assert sampler == honest
        assert stream[:3] == honest[:3]
        assert batches[:2] == [[[2, 5], [4, 10]], [4, 9]]
