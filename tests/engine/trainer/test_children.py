"""Several ranks where there is no script to start again: here, in a test, they are forked."""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from engine import Callback, MisconfigurationException, Trainer
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.runtime.distributed.world import read_world
from engine.runtime.errors import Preempted, RankFailed, RankTraceback
from engine.strategies import DDPSpawnStrategy, DDPStrategy
from engine.strategies.declared.requested import strategy_request
from engine.trainer.children import processes
from engine.trainer.children.safety import why_not_fork
from tests.engine.support.toy import Toy, loader

DEADLINE_S = 60
pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Net(Toy):
    """Has state of every kind, and tells where it runs."""

    def __init__(self):
        super().__init__()
        self.history = []
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("unsaved", torch.zeros(()), persistent=False)

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            print(f"rank {self.global_rank} of {self.trainer.world_size}")
        # With a pool of threads that this process does not have, it would wait for ever.
        torch.randn(300, 300) @ torch.randn(300, 300)
        self.history.append(batch_idx)
        self.count += 1
        self.unsaved += 2
        return super().training_step(batch, batch_idx)


class Seen(Callback):
    """A list of its own, as in many a notebook, and a state for checkpoints."""

    def __init__(self, steps):
        self.steps = steps
        self.batches = 0
        self._times = {"odd": object()}  # no plain data: stays as it is

    def on_train_batch_end(self, trainer, *_):
        self.steps.append(trainer.global_step)

    def state_dict(self):
        return {"batches": len(self.steps)}

    def load_state_dict(self, state):
        self.batches = state["batches"]


class OwnError(Exception):
    """Can be raised again in the caller."""


class Fails(Net):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def training_step(self, batch, batch_idx):
        rank = self.global_rank
        if batch_idx == 1 and self.how == "raises" and rank == 1:
            raise OwnError("own words")
        if batch_idx == 1 and self.how == "is killed" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if batch_idx == 1 and self.how == "leaves" and rank == 1:
            os._exit(3)
        if batch_idx == 1 and self.how in ("SIGINT", "SIGTERM") and rank == 0:
            os.kill(os.getppid(), getattr(signal, self.how))
        if batch_idx == 1 and self.how in ("is killed", "SIGINT"):
            time.sleep(DEADLINE_S)  # notices nothing by itself
        if self.how == "SIGTERM":
            time.sleep(0.01)
        return super().training_step(batch, batch_idx)


def trainer_of_two(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1}
    return Trainer(
        **{"accelerator": "cpu", "devices": 2, "default_root_dir": folder, **quiet, **options}
    )


@pytest.fixture(autouse=True)
def nobody_is_left():
    """Whatever happens, the ranks are gone and this process is as it was."""
    before = dict(os.environ)
    yield
    assert multiprocessing.active_children() == []
    children = f"/proc/self/task/{threading.get_native_id()}/children"
    if os.path.exists(children):
        for pid in Path(children).read_text().split():
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                assert b"engine.trainer.children" not in file.read()
    changed = {name for name in os.environ if before.get(name) != os.environ[name]}
    assert changed <= {"PYTORCH_NVML_BASED_CUDA_CHECK", "PYTEST_CURRENT_TEST"}
    assert not read_world().launched


def test_what_the_ranks_have_made_comes_back(tmp_path, capsys):
    """S135: weights, buffers, metrics, callbacks, progress, best path, random state, and what the
    verbs return; a second verb goes on from there; prints of all ranks are seen.
    """
    torch.randn(700, 700) @ torch.randn(700, 700)  # this process has threads to compute with
    steps, model = [], Net()
    model.table = table = torch.ones(3)  # not changed: not sent
    before, random = model.net[0].weight.detach().clone(), torch.get_rng_state()
    seen = Seen(steps)
    stops = EarlyStopping("val_loss")  # keeps tensors of inference mode
    callbacks = [seen, stops, ModelCheckpoint(monitor="val_loss")]
    trainer = trainer_of_two(tmp_path, max_epochs=2, callbacks=callbacks, num_sanity_val_steps=0)
    trainer.fit(model, loader(), loader())
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    assert trainer.state.finished and trainer.lightning_module is model
    assert not torch.equal(before, model.net[0].weight)
    assert not torch.equal(random, torch.get_rng_state())
    assert (model.count, model.unsaved, len(model.history)) == (6, 12, 6)
    assert model.table is table
    assert steps == [1, 2, 3, 4, 5, 6] and seen.steps is steps and seen.batches == 6
    assert {"train_loss", "val_loss"} <= set(trainer.callback_metrics)
    assert {"train_loss_step", "train_loss_epoch", "val_loss"} <= set(trainer.logged_metrics)
    best = trainer.checkpoint_callback.best_model_path
    assert stops.best_score == trainer.callback_metrics["val_loss"]
    assert torch.equal(torch.load(best)["state_dict"]["net.0.weight"], model.net[0].weight)
    assert os.path.dirname(os.path.dirname(best)) == trainer.log_dir
    out = capsys.readouterr().out
    assert out.count("rank 0 of 2") == out.count("rank 1 of 2") == 2

    loss = trainer.callback_metrics["val_loss"].item()
    assert trainer.validate(model, loader(), verbose=False)[0]["val_loss"] == pytest.approx(loss)
    tested = trainer.test(dataloaders=loader(), ckpt_path="best", verbose=False)
    assert tested[0]["test_loss"] == pytest.approx(loss)
    predicted = trainer.predict(model, loader())
    assert torch.cat(predicted).tolist() == list(range(24))
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    callbacks = [Seen([]), EarlyStopping("val_loss"), ModelCheckpoint(monitor="val_loss")]
    more = trainer_of_two(tmp_path, max_epochs=3, callbacks=callbacks)
    more.fit(model, loader(), loader(), ckpt_path=tmp_path / "own.ckpt")
    assert (more.current_epoch, more.global_step) == (3, 9)
    best = more.checkpoint_callback
    assert best.best_model_score == more.callback_metrics["val_loss"] < loss
    assert more.log_dir != trainer.log_dir


def test_tensors_of_a_validation_come_back(tmp_path):
    """Callbacks that monitor one, and modules that keep outputs, hold tensors of inference mode;
    and no file is left open.
    """

    class Keeps(Toy):
        outputs = ()

        def validation_step(self, batch, batch_idx):
            loss = super().validation_step(batch, batch_idx)
            self.outputs = [*self.outputs, batch[0].sum()]
            return loss

    model = Keeps()
    keeps, stops = ModelCheckpoint(monitor="val_loss"), EarlyStopping("val_loss")
    for epochs in (1, 2):  # in the second they are there before
        trainer = trainer_of_two(tmp_path, max_epochs=epochs, callbacks=[keeps, stops])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ResourceWarning)
            trainer.fit(model, loader(), loader())
            gc.collect()
        assert not [one for one in said if issubclass(one.category, ResourceWarning)]
    assert keeps.best_model_score == stops.best_score == trainer.callback_metrics["val_loss"]
    assert len(model.outputs) > 2 and all(one.isfinite() for one in model.outputs)


def test_a_divided_model_comes_back_whole(tmp_path):
    """With FSDP: its weights, and its optimizer's state for a checkpoint."""
    model = Toy()
    before = model.net[0].weight.detach().clone()
    trainer = trainer_of_two(tmp_path, strategy="fsdp")
    trainer.fit(model, loader())
    assert type(model.net[0].weight) is torch.nn.Parameter
    assert not torch.equal(before, model.net[0].weight)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    saved = torch.load(tmp_path / "own.ckpt")
    assert torch.equal(saved["state_dict"]["net.0.weight"], model.net[0].weight)
    assert len(saved["optimizer_states"]) == 1


def test_a_training_that_was_stopped_goes_on_in_its_epoch(tmp_path):
    """By a second fit, or from a checkpoint: what its epoch logged is of all its batches."""

    def fit(model, devices=2, steps=-1, path=None):
        options = {"devices": devices, "max_steps": steps, "logger": False, "max_epochs": 2}
        trainer = trainer_of_two(tmp_path, enable_checkpointing=False, **options)
        trainer.fit(model, loader(24, 8 // devices), ckpt_path=path)
        return trainer

    class Plain(Toy):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)  # has no state to begin anew

    expected = fit(Plain(), 1).callback_metrics["train_loss_epoch"]
    model = Plain()
    trainer = fit(model, 2, 5)
    trainer.save_checkpoint(tmp_path / "left.ckpt")
    trainer.validate(model, loader(), verbose=False)
    trainer.fit_loop.max_steps = -1
    trainer.fit(model, loader(24, 4))
    assert trainer.global_step == 6
    assert trainer.callback_metrics["train_loss_epoch"].item() == pytest.approx(expected.item())
    again = fit(Plain(), path=tmp_path / "left.ckpt")
    assert again.callback_metrics["train_loss_epoch"].item() == pytest.approx(expected.item())


def test_ranks_and_one_process_learn_the_same(tmp_path):
    """Seeded, two forked ranks with half the batch end with the weights of one process."""
    alone, together = Toy(), Toy()
    Trainer(
        accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, enable_progress_bar=False
    ).fit(alone, loader(size=8))
    kept = {"num_workers": 1, "persistent_workers": True}  # they end with the ranks
    trainer_of_two(tmp_path).fit(together, loader(size=4, **kept))
    assert torch.allclose(alone.net[0].weight, together.net[0].weight, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("raises", OwnError, "own words"),
        ("is killed", RankFailed, "rank 1 was ended by SIGKILL"),
        ("leaves", RankFailed, "rank 1 ended with exit code 3"),
    ],
)
def test_a_rank_that_fails_is_an_error_here(tmp_path, monkeypatch, how, kind, words):
    """It is the culprit's, as it was raised, with the traceback from there; nobody is left."""
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    model = Fails(how)
    trainer = trainer_of_two(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        trainer.fit(model, loader())
    if how == "raises":
        cause = caught.value.__cause__
        assert isinstance(cause, RankTraceback) and "in rank 1" in str(cause)
        assert 'raise OwnError("own words")' in str(cause)
        assert trainer.state.stopped  # rank zero has told how far it came
    model.how = "nothing"
    trainer_of_two(tmp_path).fit(model, loader())  # and all is well again


def test_ctrl_c_ends_all_and_keeps_what_was_learned(tmp_path):
    """One Ctrl-C: the ranks stop, and what rank zero had so far is here."""
    model = Fails("SIGINT")
    trainer = trainer_of_two(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, loader())
    assert (trainer.interrupted, trainer.global_step, int(model.count)) == (True, 1, 1)


def test_a_warning_is_handed_to_the_ranks(tmp_path):
    """SIGTERM to this process: the ranks save at one step, and it ends as preempted."""
    trainer = trainer_of_two(tmp_path, max_epochs=-1)
    with pytest.raises(Preempted):
        trainer.fit(Fails("SIGTERM"), loader())
    assert len(list(tmp_path.rglob("preempted-step=*.ckpt"))) == 1


class thread_named:
    """A thread that the system knows by a name, for as long as the block lasts."""

    def __init__(self, name):
        self._name, self._over, self._named = name, threading.Event(), threading.Event()

    def _run(self):
        ctypes.CDLL(None).prctl(15, self._name.encode())
        self._named.set()
        self._over.wait(DEADLINE_S)

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._named.wait(DEADLINE_S)

    def __exit__(self, *_):
        task = Path(f"/proc/self/task/{self._thread.native_id}")
        self._over.set()
        self._thread.join()
        deadline = time.monotonic() + DEADLINE_S
        while task.exists():  # the system's thread ends a little after Python's
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("strategy", "start", "unused"),
    [
        ("ddp", None, None),
        ("ddp_spawn", "spawn", None),
        ("ddp_notebook", "fork", None),
        ("ddp_fork_find_unused_parameters_true", "fork", True),
        ("ddp_notebook_find_unused_parameters_false", "fork", False),
        ("ddp_spawn_find_unused_parameters_true", "spawn", True),
        (DDPStrategy(start_method="fork", find_unused_parameters=True), "fork", True),
        (DDPSpawnStrategy(), "spawn", None),
        (DDPSpawnStrategy(start_method="fork"), "fork", None),
        (DDPStrategy(start_method="popen"), None, None),
    ],
)
def test_how_ranks_start_is_in_the_words(strategy, start, unused):
    """Those of 1.x and 2.x, and the argument of the objects."""
    plan = strategy_request(strategy)
    assert (plan.kind, plan.start) == ("ddp", start)
    assert plan.options.get("find_unused_parameters") is unused
    assert "start_method" not in plan.options


def test_where_fork_is_unsafe_it_says_so(tmp_path, monkeypatch):
    """With `ddp_fork` an error that says what to do; CUDA and autograd's threads are reasons."""
    if torch.version.cuda is None:  # one with CUDA may have asked for GPUs in an earlier test
        assert why_not_fork(uses_cuda=True) is None
    with thread_named("pt_autograd_0"):
        trainer = trainer_of_two(tmp_path, strategy="ddp_fork")
        with pytest.raises(MisconfigurationException, match=r"autograd.*strategy='ddp_spawn'"):
            trainer.fit(Toy(), loader())
    trainer.fit(Toy(), loader())
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert "CUDA is in use" in (why_not_fork(uses_cuda=True) or "")
    assert why_not_fork(uses_cuda=False) is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert "CUDA is in use" in (why_not_fork(uses_cuda=True) or "")


def test_spawned_ranks_get_a_copy(tmp_path, capsys):
    """Where fork is unsafe ranks are spawned: a class of this function, a loader and callbacks go
    there, the same comes back, and what can't go is named.
    """

    class Local(Net):
        def on_fit_end(self):
            if self.global_rank == 1:
                print("spawned", os.getppid())

        def predict_step(self, batch, batch_idx):
            return {"twice": 2 * batch[2], "kind": Local}

    model, steps = Local(), []
    trainer = trainer_of_two(tmp_path, callbacks=[Seen(steps)])
    model.lock = threading.Lock()
    with thread_named("pt_autograd_0"):
        with pytest.raises(MisconfigurationException, match=r"model\.lock can't be pickled"):
            trainer.fit(model, loader())
        del model.lock
        trainer.fit(model, loader())
    assert "spawned, not forked, since autograd" in capsys.readouterr().err
    assert (trainer.global_step, int(model.count), steps) == (3, 3, [1, 2, 3])
    assert math.isfinite(trainer.callback_metrics["train_loss"])
    assert os.path.exists(trainer.checkpoint_callback.best_model_path)
