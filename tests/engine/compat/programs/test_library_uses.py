"""Uses of a trainer and its parts that large libraries of Lightning 1.x live on."""

from __future__ import annotations

from pathlib import Path

from engine.callbacks import ModelCheckpoint
from engine.loggers import CSVLogger, MemoryLogger
from tests.engine.support.compat_runs import found_by
from tests.engine.support.toy import Toy, loader, quiet, weights


def test_a_single_loader_has_loaders_too(tmp_path: Path) -> None:
    """Callbacks of 1.3 to 1.9 reach for `trainer.train_dataloader.loaders`: one tells a loader of
    its own to draw samples anew before each epoch.
    """
    found = found_by(
        """
import pytorch_lightning as pl
from pytorch_lightning.callbacks.timer import Interval
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

class Drawn(DataLoader):
    def draw(self):
        self.dataset.times = getattr(self.dataset, "times", 0) + 1

class Draws(pl.Callback):
    def on_epoch_start(self, trainer, pl_module):
        if trainer.training:
            trainer.train_dataloader.loaders.draw()

loader = Drawn(RandomDataset(32, 4))
trainer = pl.Trainer(
    max_epochs=2, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0,
    weights_summary=None, callbacks=Draws(), num_sanity_val_steps=0, limit_val_batches=1,
)
trainer.fit(BoringModel(), loader)
print(json.dumps([loader.dataset.times, Interval.step == "step"]))
""",
        tmp_path,
    )
    assert found == [2, True]


def test_never_may_be_an_infinity(tmp_path: Path) -> None:
    """As programs say it of logs that are written at the end only, and of validation."""
    never, logger = float("inf"), MemoryLogger()
    options = {"flush_logs_every_n_steps": never, "check_val_every_n_epoch": never}
    trainer = quiet(tmp_path, logger=logger, log_every_n_steps=never, **options)
    trainer.fit(Toy(), loader(), loader())
    assert trainer.global_step == 6
    assert logger.series("val_loss") == logger.series("train_loss_step") == []
    assert len(logger.series("train_loss_epoch")) == 1


def test_loggers_and_checkpoints_by_the_connectors(tmp_path: Path) -> None:
    """An experiment's own set-up gives a trainer its logger, and the checkpoint to go on from, when
    it is there already; at the end it puts the best weights back.
    """
    first = quiet(tmp_path)
    model = Toy()
    first.fit(model, loader(), loader(4))
    first.save_checkpoint(tmp_path / "a.ckpt")
    best = weights(model)

    class BestAtTheEnd(Toy):
        def on_train_end(self):
            self.before = weights(self)
            self.trainer.checkpoint_connector.restore(str(tmp_path / "a.ckpt"))

    trainer = quiet(tmp_path, max_epochs=2)
    logger = CSVLogger(tmp_path)
    trainer.logger_connector.configure_logger([logger])
    trainer.checkpoint_connector.resume_from_checkpoint_fit_path = str(tmp_path / "a.ckpt")
    assert trainer.checkpoint_connector.resume_checkpoint_path == str(tmp_path / "a.ckpt")
    model = BestAtTheEnd()
    trainer.fit(model, loader(), loader(4))
    assert (trainer.logger is logger, trainer.global_step, len(model.seen)) == (True, 12, 24)
    assert weights(model).equal(best) and not model.before.equal(best)


def test_a_checkpoint_callback_that_goes_on_from_files_that_are_there(tmp_path: Path) -> None:
    """An own ModelCheckpoint reads scores off the names in its folder and keeps the best of all;
    it overrides how a file is written.
    """

    class Knows(ModelCheckpoint):
        def __init__(self, **options):
            super().__init__(**options)
            self.written = []
            self.best_k_models, self.best_model_score, self.best_model_path = {}, None, ""
            for path in sorted(Path(self.dirpath).glob("*.ckpt")):
                self.best_k_models[str(path)] = float(path.stem)
            if self.best_k_models:
                ordered = sorted(self.best_k_models, key=self.best_k_models.get)
                self.best_k_models.pop(ordered.pop())
                self.kth_best_model_path, self.best_model_path = ordered[-1], ordered[0]

        def _save_checkpoint(self, trainer, filepath):
            super()._save_checkpoint(trainer, filepath)
            self.written.append(filepath)

    folder = tmp_path / "kept"
    folder.mkdir()
    for score in ("0.001", "0.002", "99.0"):
        (folder / f"{score}.ckpt").touch()
    keeps = Knows(dirpath=folder, monitor="val_loss", filename="new", save_top_k=3)
    assert keeps.best_model_path == str(folder / "0.001.ckpt")
    quiet(tmp_path, callbacks=keeps, enable_checkpointing=True).fit(Toy(), loader(), loader())
    new = str(folder / "new.ckpt")
    assert keeps.written == [new]
    assert {*keeps.best_k_models} == {
        str(folder / f"{one}.ckpt") for one in ("0.001", "0.002", "new")
    }
    assert (keeps.kth_best_model_path, keeps.best_model_path) == (new, str(folder / "0.001.ckpt"))
    keeps.best_model_path = "mine"
    assert keeps.best_model_path == "mine"


def test_saved_hyper_parameters_are_brought_up_to_date() -> None:
    """As models do it that complete their configuration while they are made."""
    model = Toy()
    model._set_hparams({"width": 3, "more": "x"})
    assert (model.hparams.width, model.hparams.more, model.hparams.lr) == (3, "x", 0.1)


def test_a_model_can_be_put_into_a_trainer(tmp_path: Path) -> None:
    """A loaded model is set in a new trainer, which predicts with it."""
    trainer, model = quiet(tmp_path), Toy()
    trainer.model = model
    assert trainer.lightning_module is model
    assert len(trainer.predict(dataloaders=loader())) == 6


def test_a_trainer_says_how_its_processes_work_together(tmp_path: Path) -> None:
    """As modules of 1.0 to 1.2 ask before they gather."""
    trainer = quiet(tmp_path)
    said = (trainer.use_dp, trainer.use_ddp, trainer.use_ddp2, trainer.use_single_gpu)
    assert said == (False, False, False, False)
