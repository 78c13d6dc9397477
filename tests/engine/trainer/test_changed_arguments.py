"""Arguments that programs set on a trainer between two runs, and what it was made of in 1.x."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import MisconfigurationException, Trainer
from engine.loggers import MemoryLogger
from engine.trainer.options import CHANGEABLE
from tests.engine.support.toy import Toy, loader, quiet


class Counts(Toy):
    """Counts what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.norms: list[float] = []

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def on_train_batch_start(self, *_: Any) -> None:
        self.count("train")

    def on_validation_batch_start(self, *_: Any) -> None:
        self.count("val")

    def on_before_zero_grad(self, optimizer: Any) -> None:
        found = [p.grad.norm() ** 2 for p in self.parameters() if p.grad is not None]
        self.norms += [float(sum(found)) ** 0.5] if found else []


def test_each_run_reads_what_was_set_before_it(tmp_path: Path) -> None:
    """Limits, intervals, clipping, the logger, where to begin; the fit after it has them."""
    model, trainer = Counts(), quiet(tmp_path, max_epochs=1)
    trainer.fit(model, loader(), loader(8))
    assert (model.counts, max(model.norms) > 0.02) == ({"train": 6, "val": 2}, True)

    model = Counts()
    log = MemoryLogger()
    trainer.limit_train_batches, trainer.limit_val_batches = 4, 0
    trainer.gradient_clip_val, trainer.log_every_n_steps = 0.01, 2
    trainer.logger, trainer.current_epoch, trainer.global_step = log, 0, 0
    trainer.fit(model, loader(), loader(8))
    assert model.counts == {"train": 4} and max(model.norms) <= 0.01001
    assert [step for step, _ in log.series("train_loss_step")] == [1, 3]
    assert (trainer.current_epoch, trainer.global_step, trainer.logger) == (1, 4, log)

    trainer.save_checkpoint(tmp_path / "four.ckpt")
    trainer.resume_from_checkpoint = tmp_path / "four.ckpt"
    trainer.fit_loop.max_epochs, trainer.limit_train_batches = 2, 1.0
    trainer.fit_loop.current_epoch = trainer.fit_loop.global_step = 0
    trainer.check_val_every_n_epoch, trainer.limit_val_batches = 2, 1
    model = Counts()
    trainer.fit(model, loader(), loader(8))
    assert model.counts == {"train": 6, "val": 1} and trainer.global_step == 10


def test_what_cannot_change_says_so(tmp_path: Path) -> None:
    """A wrong value names the right ones; in a run all stay as they are; a device is for good."""
    trainer = quiet(tmp_path)
    with pytest.raises(MisconfigurationException, match=r"limit_val_batches=-1\): give a share"):
        trainer.limit_val_batches = -1

    class Changes(Toy):
        def on_train_start(self) -> None:
            self.trainer.limit_val_batches = 0

    with pytest.raises(MisconfigurationException, match="cannot change while a run goes on"):
        trainer.fit(Changes(), loader(), loader())
    with pytest.raises(AttributeError, match="no setter"):
        trainer.gpus = 2
    options = dict.fromkeys(CHANGEABLE)
    assert all(hasattr(Trainer, name) for name in options if name != "ckpt_path")


def test_what_a_trainer_was_made_of_is_the_trainer(tmp_path: Path) -> None:
    """Its four connectors of 1.x: ranks, a checkpoint's content, data and metrics."""
    log = MemoryLogger()
    trainer, model = quiet(tmp_path, logger=log), Toy()
    assert not trainer.checkpoint_connector.has_trained
    with pytest.raises(MisconfigurationException, match="nothing to save before a run"):
        trainer.checkpoint_connector.dump_checkpoint()
    trainer.fit(model, loader(), loader())

    ranks = trainer.accelerator_connector
    assert (ranks.use_ddp, ranks.is_distributed, ranks.use_dp, ranks.use_tpu) == (False,) * 4
    assert not ranks.use_single_gpu and ranks.parallel_device_ids is None
    assert ranks.training_type_plugin is trainer.strategy and ranks.precision == 32
    content = trainer.checkpoint_connector.dump_checkpoint()
    assert content["global_step"] == 6 and "callbacks" in content
    assert "optimizer_states" not in trainer._checkpoint_connector.dump_checkpoint(True)
    paths = [trainer.checkpoint_connector.hpc_save(tmp_path / "hpc", log) for _ in range(2)]
    assert [Path(path).name for path in paths] == ["hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt"]
    assert trainer.data_connector.datamodule is None and trainer.data_connector.train_dataloader
    assert trainer.logger_connector.callback_metrics.keys() == trainer.callback_metrics.keys()
    trainer.logger_connector.log_metrics({"mine": 1.0}, {}, step=3)
    assert log.series("mine") == [(3, 1.0)]
    with pytest.raises(AttributeError, match="LoggerConnector has no 'on_train_batch_end'"):
        _ = trainer.logger_connector.on_train_batch_end
