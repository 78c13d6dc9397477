"""`trainer.validate`, `test` and `predict` in a hook of a fit."""

from __future__ import annotations

import torch

from engine import Callback
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.loggers import CSVLogger
from tests.engine.support.toy import Toy, loader, quiet, weights


class Asks(Callback):
    """Calls every verb of evaluation where it is told to, and notes what it finds around it."""

    def __init__(self, hook, ckpt_path=None):
        self.ckpt_path = ckpt_path
        self.results = []
        self.before, self.after = [], []
        setattr(self, hook, self.ask)

    def ask(self, trainer, pl_module, *_):
        if len(self.before) > len(self.after):
            return  # the evaluation below calls this hook, too
        self.before.append(self.seen(trainer, pl_module))
        (validated,) = trainer.validate(pl_module, loader(8), verbose=False)
        (tested,) = trainer.test(dataloaders=loader(8), ckpt_path=self.ckpt_path, verbose=False)
        predicted = trainer.predict(pl_module, loader(8))
        self.results.append((validated["val_loss"], tested["test_loss"], len(predicted)))
        self.after.append(self.seen(trainer, pl_module))

    def seen(self, trainer, pl_module):
        state = trainer.state
        return {
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "flags": (trainer.training, trainer.validating, trainer.testing, trainer.predicting),
            "state": (state.fn, state.status, state.stage, trainer.sanity_checking),
            "modes": [layer.training for layer in pl_module.modules()],
            "module": (trainer.lightning_module, pl_module.trainer, list(trainer.callbacks)),
            "loaders": (trainer.val_dataloaders, trainer.num_val_batches),
            "weights": weights(pl_module).tolist(),
        }


def fitted(folder, *callbacks, **options):
    """A fit of two epochs with everything that keeps something: its module, trainer and log."""
    keeps = ModelCheckpoint(monitor="val_loss", save_top_k=-1, dirpath=folder / "kept")
    stops = EarlyStopping("val_loss", patience=9)
    module, log = Toy(dropout=0.5), CSVLogger(folder)
    every = {"enable_checkpointing": True, "logger": log, "log_every_n_steps": 1}
    trainer = quiet(
        folder, max_epochs=2, callbacks=[*callbacks, keeps, stops], **{**every, **options}
    )
    torch.manual_seed(5)
    trainer.fit(module, loader(), loader(12))
    return module, trainer, (keeps, stops, log)


def test_an_evaluation_in_a_hook_leaves_the_fit_as_it_was(tmp_path):
    """Whichever hook asks: flags, metrics, modes, parts and weights are those of the fit again,
    and the rest of the fit trains, logs, checkpoints and stops as it would."""
    _, plain, (kept, _, _) = fitted(tmp_path / "plain")
    hooks = ["on_train_epoch_end", "on_train_batch_end", "on_validation_epoch_end"]
    hooks += ["on_train_start", "on_validation_batch_end"]

    for hook in hooks:
        asks = Asks(hook)
        module, trainer, (keeps, stops, _) = fitted(tmp_path / hook, asks)

        assert asks.before == asks.after and asks.results, hook
        assert trainer.global_step == plain.global_step == 12
        assert set(trainer.callback_metrics) == set(plain.callback_metrics)
        assert len(keeps.best_k_models) == len(kept.best_k_models) == 2
        assert stops.wait_count == 0 and trainer.state.finished
        assert module.training and len(module.seen) == 48
        rows = (tmp_path / hook).rglob("metrics.csv")
        assert "train_loss_step" in next(rows).read_text()


def test_weights_that_an_evaluation_in_a_hook_loads_are_put_back(tmp_path):
    """A checkpoint that is tested within the fit does not take its place."""
    _, trainer, _ = fitted(tmp_path / "first")
    path = tmp_path / "some.ckpt"
    trainer.save_checkpoint(path)

    asks = Asks("on_train_epoch_end", ckpt_path=path)
    fitted(tmp_path / "second", asks)

    assert asks.before == asks.after
    assert asks.results[0][1] != asks.results[0][0]


def test_an_error_of_an_evaluation_in_a_hook_can_be_caught(tmp_path):
    """The fit goes on after it."""

    class Breaks(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            try:
                trainer.test(pl_module, ["no batch"], verbose=False)
            except Exception as error:
                errors.append(error)

    errors = []
    _, trainer, (keeps, _, _) = fitted(tmp_path, Breaks())

    assert len(errors) == 2
    assert trainer.state.finished and trainer.global_step == 12
    assert len(keeps.best_k_models) == 2
