"""Several runs of one program: each in a folder of its own, and none knows of another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine import Callback, MisconfigurationException, Trainer, seed_everything
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.loggers import CSVLogger, TensorBoardLogger
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")

ROOT = Path(__file__).parents[3]
DEADLINE_S = 90


def test_what_a_trainer_leaves_by_default(tmp_path, monkeypatch):
    """S203, S209, S222, S230: lightning_logs in the working folder, version_0, version_1 and on,
    with TensorBoard's file and the newest checkpoint, whose folder is known before the run.
    """
    monkeypatch.chdir(tmp_path)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 2}
    for version in range(3):
        trainer = Trainer(**options)
        logger = trainer.logger
        assert isinstance(logger, TensorBoardLogger)
        assert (logger.name, logger.version) == ("lightning_logs", version)
        folder = tmp_path / "lightning_logs" / f"version_{logger.version}"
        assert Path(logger.log_dir) == folder
        trainer.fit(Toy(), loader(), loader())
        assert os.listdir(folder / "checkpoints") == ["epoch=1-step=12.ckpt"]
        assert len(list(folder.glob("events.out.tfevents.*"))) == 1
        best = trainer.checkpoint_callback.best_model_path
        assert Path(best) == folder / "checkpoints" / "epoch=1-step=12.ckpt"
    assert os.listdir(tmp_path) == ["lightning_logs"]
    assert sorted(os.listdir("lightning_logs")) == ["version_0", "version_1", "version_2"]


def test_a_logger_with_a_folder(tmp_path, monkeypatch):
    """S223, S209: TensorBoardLogger('logs/') writes to logs/lightning_logs, the checkpoints too; a
    logger with a name and a version says where they are.
    """
    monkeypatch.chdir(tmp_path)
    first = quiet(None, logger=TensorBoardLogger("logs/"), enable_checkpointing=True)
    first.fit(Toy(), loader())
    assert list(Path("logs/lightning_logs/version_0").glob("events*"))
    assert list(Path("logs/lightning_logs/version_0/checkpoints").glob("*.ckpt"))
    logger = CSVLogger("logs", name="mine", version=7)
    second = quiet(None, logger=logger, enable_checkpointing=True)
    second.fit(Toy(), loader())
    folder = Path(f"logs/{logger.name}/version_{logger.version}/checkpoints")
    assert second.checkpoint_callback.best_model_path == str(
        folder.resolve() / os.listdir(folder)[0]
    )


class Compared(Toy):
    """One of two activations, as in a comparison of them."""

    def __init__(self, activation):
        super().__init__(dropout=0.2)
        self.net[1] = getattr(torch.nn, activation)()
        self.ended = 0

    def validation_step(self, batch, batch_idx):
        self.log(f"val_{type(self.net[1]).__name__}", self.loss(batch))

    def validation_epoch_end(self, outputs):
        self.ended += 1


def test_several_trainers_do_not_know_each_other(tmp_path):
    """S123: six experiments in one program have the versions 0 to 5, metrics and callbacks of their
    own, and what the first of a kind comes to, each of them comes to.
    """
    results = {"Tanh": [], "ReLU": []}
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    for version, kind in enumerate(["Tanh", "ReLU"] * 3):
        seed_everything(5, verbose=False)
        model, name = Compared(kind), f"val_{kind}"
        callbacks = [EarlyStopping(name), ModelCheckpoint(monitor=name)]
        trainer = quiet(
            tmp_path, logger=True, max_epochs=2, callbacks=callbacks, enable_checkpointing=True
        )
        trainer.fit(model, loader(shuffle=True), loader())
        assert (trainer.logger.version, trainer.global_step, model.ended) == (version, 12, 2)
        own = {"train_loss", "train_loss_step", "train_loss_epoch", name}
        assert set(trainer.callback_metrics) == own
        assert f"version_{version}/" in trainer.checkpoint_callback.best_model_path
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        results[kind].append((metrics, weights(model).tolist()))
    for each in results.values():
        assert each[0] == each[1] == each[2]
    assert results["Tanh"][0] != results["ReLU"][0]
    assert before == (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


class Fails(Toy):
    """Raises in one method, once."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def maybe(self, where):
        if self.where == where and self.global_step >= 6 * self.trainer.training:
            self.where = None
            raise ValueError("mine")

    def training_step(self, batch, batch_idx):
        self.maybe("training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.maybe("validation_step")
        return super().validation_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.maybe("on_train_epoch_end")

    def test_step(self, batch, batch_idx):
        self.maybe("test_step")
        return super().test_step(batch, batch_idx)


@pytest.mark.parametrize(
    "where", ["training_step", "validation_step", "on_train_epoch_end", "test_step"]
)
def test_after_an_exception_one_can_go_on(tmp_path, where):
    """S125: the same trainer and module, or new ones, run again as if nothing had been: modes,
    gradients, hooks and logging are as they were.
    """
    model = Fails(where)
    trainer = quiet(tmp_path, max_epochs=2, enable_checkpointing=True, logger=True)
    with pytest.raises(ValueError, match="mine"):
        trainer.fit(model, loader(), loader())
        trainer.test(model, loader(), verbose=False)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert model.training
    trainer.fit(model, loader(), loader())
    assert trainer.current_epoch == 2
    if where != "test_step":  # then there was nothing left to train
        assert {"train_loss", "val_loss"} <= set(trainer.callback_metrics)
    fresh = quiet(tmp_path, logger=True, enable_checkpointing=True)
    fresh.fit(model, loader(), loader())
    assert (fresh.global_step, fresh.logger.version) == (6, 1)
    assert set(fresh.test(model, loader(), verbose=False)[0]) == {"test_loss"}


INTERRUPTED = """
import json, os, signal, sys
from tests.engine.support.toy import Toy, loader, quiet

class Interrupted(Toy):
    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 8 and not self.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

first = quiet(".", max_epochs=3, enable_checkpointing=True, logger=True)
again = quiet(".", enable_checkpointing=True, logger=True)
try:
    first.fit(Interrupted(), loader(), loader())
except KeyboardInterrupt:
    again.fit(Toy(), loader(), loader())
best = [t.checkpoint_callback.best_model_path for t in (first, again)]
facts = [first.interrupted, os.path.isfile(best[0]), os.path.isfile(best[1])]
facts += [first.logger.version, again.logger.version, first.global_step, again.global_step]
with open(sys.argv[1], "w") as file:
    json.dump(facts, file)
quiet(".", max_epochs=3).fit(Interrupted(), loader(), loader())
"""


def test_ctrl_c_for_real(tmp_path):
    """S125: a real SIGINT leaves the last checkpoint; a run that is begun after it has a version of
    its own; a program that does not catch it ends with SIGINT's status, never with 0.
    """
    script = tmp_path / "program.py"
    script.write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "facts.json"],
        cwd=tmp_path,
        env=environment,
        timeout=DEADLINE_S,
        capture_output=True,
        text=True,
    )
    assert json.loads((tmp_path / "facts.json").read_text()) == [True, True, True, 0, 1, 8, 6]
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.count("interrupted; the last checkpoint is kept") == 2


def test_a_fit_that_is_at_its_end_says_so(tmp_path, capsys):
    """A second fit, or a resumed one, that finds nothing to train is not silent."""
    trainer = quiet(tmp_path)
    trainer.fit(Toy(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert "nothing is left" not in capsys.readouterr().err
    trainer.fit(trainer.lightning_module, loader())
    assert "nothing is left to train: this run is at epoch 1, step 6" in capsys.readouterr().err
    quiet(tmp_path).fit(Toy(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert "max_epochs=1" in capsys.readouterr().err


def test_a_fit_goes_on_when_its_limit_is_raised(tmp_path):
    """S125: between two fits of a trainer `max_epochs` can be raised, by the names of 1.4 and 1.5,
    but not while it runs.
    """
    trainer, model = quiet(tmp_path), Toy()
    trainer.fit(model, loader())
    trainer.max_epochs = 3
    trainer.fit(model, loader())
    assert (trainer.current_epoch, trainer.global_step) == (3, 18)
    trainer.fit_loop.max_epochs += 1
    trainer.fit(model, loader())
    assert (trainer.fit_loop.current_epoch, trainer.fit_loop.global_step) == (4, 24)

    class Changes(Toy):
        def on_train_epoch_start(self):
            self.trainer.max_epochs = 9

    with pytest.raises(MisconfigurationException, match="should_stop"):
        quiet(tmp_path).fit(Changes(), loader())


def test_a_run_within_a_run(tmp_path):
    """S123: another Trainer may evaluate the module in the middle of its training; afterwards it
    logs to its own again, and after the run a step by hand logs nowhere and says so.
    """

    class Looks(Callback):
        seen = ()

        def on_train_epoch_end(self, trainer, pl_module):
            inner = quiet(tmp_path)
            self.seen += (inner.test(pl_module, loader(), verbose=False)[0]["test_loss"],)
            assert pl_module.trainer is trainer and pl_module.training
            assert "test_loss" not in trainer.callback_metrics

    model, looks = Toy(), Looks()
    trainer = quiet(tmp_path, max_epochs=3, callbacks=looks)
    trainer.fit(model, loader(), loader())
    assert trainer.global_step == 18
    assert looks.seen[-1] == pytest.approx(float(trainer.callback_metrics["val_loss"]))
    assert len(set(looks.seen)) == 3
    assert model.trainer is trainer
    with pytest.warns(UserWarning, match="outside of a Trainer"):
        model.training_step(next(iter(loader())), 0)


def test_callbacks_that_fail_do_not_hide_the_error(tmp_path):
    """S125: what the program raised is what comes out, also where tidying up fails too."""

    class AlsoFails(Callback):
        def on_exception(self, trainer, pl_module, exception):
            raise RuntimeError("second")

    with pytest.raises(BaseException) as raised:
        trainer = quiet(tmp_path, callbacks=AlsoFails(), max_epochs=2)
        trainer.fit(Fails("training_step"), loader(), loader())
    chain = [raised.value, raised.value.__context__]
    assert any(isinstance(error, ValueError) for error in chain)
