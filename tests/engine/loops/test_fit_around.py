"""What a fit does around its steps: batches to the device, precision, workers, an end by force."""

from __future__ import annotations

import sys
from collections import namedtuple

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from engine import Callback, LightningDataModule
from engine.loggers import MemoryLogger
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    "batch",
    [
        torch.ones(2),
        [torch.ones(2), "text"],
        (torch.ones(2), {"a": [torch.ones(2)], "b": None}),
        Pair(torch.ones(2), 3),
    ],
    ids=["tensor", "list", "nested", "namedtuple"],
)
def test_batches_of_any_nesting_go_to_the_device(batch):
    """S022: every tensor moves, everything else and the containers stay as they are."""
    from engine.runtime.data.samplers import move

    moved = move(batch, torch.device("meta"))
    assert type(moved) is type(batch)

    def tensors(item):
        if isinstance(item, torch.Tensor):
            return [item]
        items = item.values() if isinstance(item, dict) else item
        return [t for i in items if not isinstance(i, (str, int, type(None))) for t in tensors(i)]

    assert tensors(moved)
    assert all(t.device.type == "meta" for t in tensors(moved))


class Placed:
    """A batch class of one's own, which notes where it is asked to go."""

    def __init__(self, moved):
        self.x, self.moved = torch.ones(2, 4), moved

    def to(self, device):
        self.moved.append(device)
        return self


class TakesPlaced(Toy):
    def training_step(self, batch, batch_idx):
        return self(batch[0].x).mean()

    def validation_step(self, batch, batch_idx):
        return None

    test_step = predict_step = validation_step


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_each_verb_moves_its_batches(tmp_path, monkeypatch, verb):
    """S022: whatever a batch is made of goes to the trainer's device before the step gets it."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)  # a batch may lie on a GPU
    moved = []
    one, two, three = (Placed(moved) for _ in range(3))
    getattr(quiet(tmp_path), verb)(TakesPlaced(), [[one, (two, {"a": [three, "text", None]})]])
    assert moved == [torch.device("cpu")] * 3


def test_transfer_hooks(tmp_path):
    """Around each batch, the data module's before the module's."""
    calls = []

    class Data(LightningDataModule):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            calls.append("data")
            return batch

        def train_dataloader(self):
            return loader(8)

    class Module(Toy):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            calls.append("before")
            return batch

        def on_after_batch_transfer(self, batch, dataloader_idx):
            calls.append("module")
            return batch

    quiet(tmp_path).fit(Module(), Data())
    assert calls == ["before", "data"] * 2


@pytest.mark.parametrize(
    ("precision", "kind"),
    [(16, torch.float16), ("bf16-mixed", torch.bfloat16), (32, torch.float32), (64, torch.float64)],
)
def test_precision(tmp_path, precision, kind):
    """S159: steps compute in the type that was asked for, on a CPU too; parameters stay in 32 or
    64."""
    kinds = set()

    class Typed(Toy):
        def training_step(self, batch, batch_idx):
            output = self.net(batch[0])
            kinds.add(output.dtype)
            return functional.cross_entropy(output.float(), batch[1])

        def validation_step(self, batch, batch_idx):
            kinds.add(self.net(batch[0]).dtype)

    model = Typed()
    data = DataLoader(
        samples(8, dtype=torch.float64 if precision == 64 else torch.float32), batch_size=4
    )
    before = weights(model)
    trainer = quiet(tmp_path, precision=precision)
    trainer.fit(model, data, data)
    assert kinds == {kind}
    assert model.net[0].weight.dtype == (torch.float64 if precision == 64 else torch.float32)
    assert not torch.equal(before.double(), weights(model).double())
    assert model.precision == (precision if isinstance(precision, int) else "bf16")


def test_gradients_are_unscaled_before_they_are_clipped(tmp_path):
    """With a scaled loss the norm that is clipped is the real one."""
    norms = []

    class Norms(Toy):
        def on_before_optimizer_step(self, optimizer):
            norms.append(max(float(p.grad.abs().max()) for p in self.parameters()))

    quiet(tmp_path, precision=16, limit_train_batches=1).fit(Norms(), loader())
    assert 0 < norms[0] < 10


def test_ctrl_c_is_handed_on(tmp_path):
    """S125: hooks run, checkpoints stay, and the program ends as an interrupted one does."""
    calls = []

    class Interrupted(Toy):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 8:
                raise KeyboardInterrupt

        def teardown(self, stage):
            calls.append("teardown")

    class Watch(Callback):
        def on_exception(self, trainer, pl_module, exception):
            calls.append(type(exception).__name__)

        def on_keyboard_interrupt(self, trainer, pl_module):
            calls.append("on_keyboard_interrupt")

    trainer = quiet(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=Watch())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(Interrupted(), loader())
    assert calls == ["KeyboardInterrupt", "on_keyboard_interrupt", "teardown"]
    assert trainer.interrupted
    assert list(tmp_path.glob("checkpoints/*.ckpt"))
    assert Toy.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_loader_end_with_an_exception(tmp_path, persistent):
    """Even while the traceback is still held on to."""
    import multiprocessing

    class Fails(Toy):
        def training_step(self, batch, batch_idx):
            raise ValueError("mine")

    data = loader(num_workers=1, persistent_workers=persistent)
    with pytest.raises(ValueError, match="mine") as held:
        quiet(tmp_path).fit(Fails(), data)
    assert held.tb is not None
    assert multiprocessing.active_children() == []


def test_persistent_workers_persist(tmp_path):
    """They are the same processes in each epoch."""
    pids = set()

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            import os

            return torch.ones(4), 0, os.getpid()

    class Watch(Toy):
        def training_step(self, batch, batch_idx):
            pids.update(batch[2].tolist())
            return self.loss(batch)

    data = DataLoader(Data(), num_workers=1, persistent_workers=True)
    quiet(tmp_path, max_epochs=2).fit(Watch(), data)
    assert len(pids) == 1


def test_a_module_can_be_copied_and_pickled_after_fit(tmp_path):
    """It is a model, not a part of the run."""
    import copy
    import pickle

    model = Toy()
    quiet(tmp_path).fit(model, loader())
    assert torch.equal(weights(copy.deepcopy(model)), weights(model))
    assert len(pickle.dumps(model)) < 50_000
    assert "_trainer" not in model.state_dict() and sys.getsizeof(model) < 1000


def test_an_interval_longer_than_the_epoch_is_said(tmp_path, capsys):
    """Without a line one looks for curves that never come."""
    words = "an epoch has 2 batches, log_every_n_steps is 50"
    quiet(tmp_path, logger=MemoryLogger()).fit(Toy(), loader(8), loader(8))
    assert words in capsys.readouterr().err
    quiet(tmp_path, logger=MemoryLogger(), log_every_n_steps=2).fit(Toy(), loader(8), loader(8))
    quiet(tmp_path).fit(Toy(), loader(8), loader(8))
    assert "an epoch has" not in capsys.readouterr().err
