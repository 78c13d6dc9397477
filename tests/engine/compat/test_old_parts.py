"""Small things that programs of 1.x ask of modules, profilers, loggers and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from engine import LightningDataModule, MisconfigurationException
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.loggers import CSVLogger, Logger
from engine.profilers import PyTorchProfiler, SimpleProfiler
from tests.engine.support.toy import Toy, loader, quiet


class Data(LightningDataModule):
    """Training and validation data."""

    def train_dataloader(self) -> Any:
        return loader()

    val_dataloader = test_dataloader = train_dataloader


class Old(Toy):
    """Uses of itself what 1.x had."""

    def on_after_backward(self) -> None:
        norms = self.grad_norm(2)
        self.total = float(norms["grad_2.0_norm_total"])
        self.log_grad_norm(norms)
        assert self.datamodule is self.trainer.datamodule

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.write_prediction("index", batch[2], "out/said.pt")
        self.write_predictions({"class": batch[1]}, "out/said.pt")


def test_a_module_uses_of_itself_what_1_x_had(tmp_path: Path, monkeypatch: Any) -> None:
    """Norms of gradients, its data module, its size, its table, predictions in a file."""
    monkeypatch.chdir(tmp_path)
    model, trainer = Old(), quiet(tmp_path)
    assert model.datamodule is None
    trainer.fit(model, datamodule=Data())
    trainer.test(model, verbose=False)

    assert model.total > 0 and "grad_2.0_norm_total" in trainer.callback_metrics
    assert model.model_size == pytest.approx(58 * 4 / 1e6)
    assert "Linear" in str(model.summarize("full")) and model.summarize(None) is None
    said = torch.load("out/said.pt")
    assert [one["index"] for one in said] == list(range(24)) and said[0].keys() == {
        "index",
        "class",
    }
    model.model_size, model.datamodule = "base", 3  # a program's own names
    assert (model.model_size, model.datamodule) == ("base", 3)


def test_predictions_of_a_file_belong_together(tmp_path: Path) -> None:
    """A name with fewer values than another is an error that counts them."""

    class Uneven(Toy):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.write_prediction("a", batch[2])
            self.write_prediction("b", [1])

    with pytest.raises(MisconfigurationException, match=r"'a': 8, 'b': 2"):
        quiet(tmp_path).test(Uneven(), loader(8))


def test_a_profiler_tells_each_duration(tmp_path: Path) -> None:
    """Of a run's actions and of one's own; folder and name of its report may come in one."""
    profiler = SimpleProfiler(output_filename=tmp_path / "times.txt")
    assert list(profiler.profile_iterable([1, 2, 3], "mine")) == [1, 2, 3]
    durations = profiler.recorded_durations["mine"]
    assert len(durations) == 4 and min(durations) >= 0 and math.isfinite(sum(durations))
    profiler.start("open")
    assert list(profiler.current_actions) == ["open"]

    quiet(tmp_path, profiler=profiler).fit(Toy(), loader(), loader())
    assert len(profiler.recorded_durations["training_step"]) == 6
    assert (tmp_path / "fit-times.txt").exists()


class OldLogger(Logger):
    """As programs of 1.x wrote one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(agg_key_funcs=None, agg_default_func=None)
        self.rows: list[Any] = []
        self.saved: list[str] = []
        self._prefix = "mine"

    @property
    def name(self) -> str:
        return "old"

    @property
    def version(self) -> str:
        return "1"

    def log_hyperparams(self, params: Any, *args: Any) -> None:
        params = self._flatten_dict(self._convert_params(params))
        self.hparams = self._sanitize_callable_params({**params, "f": len, "g": lambda: 3})

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.rows.append(self._add_prefix(metrics))

    def save(self) -> None:
        super().save()
        self.is_saved = True

    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.close()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.saved.append(checkpoint_callback.best_model_path)


def test_a_logger_of_1_x_hears_of_all(tmp_path: Path) -> None:
    """Its base has what it calls by `super()` and `self`; checkpoints are told to it."""
    logger, best = OldLogger(), ModelCheckpoint(tmp_path, monitor="val_loss", every_n_epochs=1)
    trainer = quiet(
        tmp_path, logger=logger, callbacks=best, enable_checkpointing=True, log_every_n_steps=1
    )
    trainer.fit(Toy(), loader(), loader())

    assert logger.saved == [best.best_model_path] and logger.is_saved
    assert {name for row in logger.rows for name in row} >= {"mine-train_loss_step", "mine-epoch"}
    assert (logger.hparams["f"], logger.hparams["g"]) == ("len", 3)
    logger.agg_and_log_metrics({"a": 1.0}, 2)
    logger.update_agg_funcs({})
    assert logger.rows[-1] == {"mine-a": 1.0}

    best.to_yaml()
    best.save_checkpoint(trainer)  # that state has been saved
    scores = yaml.safe_load((tmp_path / "best_k_models.yaml").read_text())
    assert scores == {best.best_model_path: pytest.approx(float(best.best_model_score))}
    assert (best.every_n_epochs, best.period) == (1, 1)
    stop = EarlyStopping("a", stopping_threshold=0.1, divergence_threshold=9.0)
    assert (stop.stopping_threshold, stop.divergence_threshold) == (0.1, 9.0)
    assert stop.check_finite


def test_the_table_of_a_csv_logger_can_be_read(tmp_path: Path) -> None:
    """`experiment.metrics` has all rows, of the run and of one's own; `hparams` what was said."""
    logger = CSVLogger(tmp_path)
    quiet(tmp_path, logger=logger, log_every_n_steps=2).fit(Toy(), loader(), loader())
    writer = logger.experiment
    writer.log_metrics({"mine": 0.5}, step=7)
    writer.log_hparams({"more": 1})
    writer.save()

    rows = writer.metrics
    assert [row["step"] for row in rows if "train_loss_step" in row] == [1, 3, 5]
    assert rows[-1] == {"mine": 0.5, "step": 7}
    assert writer.log_dir == logger.log_dir and Path(writer.metrics_file_path).exists()
    assert writer.hparams == {"width": 8, "lr": 0.1, "dropout": 0.0, "more": 1}


def test_names_of_a_trainer(tmp_path: Path, capsys: Any) -> None:
    """The loop by its old name, who writes predictions, and a line from one process."""
    trainer = quiet(tmp_path)
    assert trainer.train_loop.max_epochs == 1 and trainer.prediction_writer_callbacks == []
    assert trainer.replace_sampler_ddp and not trainer.received_sigterm
    trainer.print("a line")
    assert capsys.readouterr().out == "a line\n"
    with pytest.raises(MisconfigurationException, match="once fit has begun"):
        _ = trainer.estimated_stepping_batches


def test_a_profiler_of_torch_takes_what_1_5_gave_it(tmp_path: Path) -> None:
    """Names to record, a folder for traces; what it can't do is said."""
    profiler = PyTorchProfiler(
        path_to_export_trace=tmp_path / "traces",
        record_functions={"training_step"},
        record_module_names=False,
        row_limit=100,
        schedule=torch.profiler.schedule(wait=0, warmup=1, active=2, repeat=1),
    )
    quiet(tmp_path, profiler=profiler).fit(Toy(), loader(), loader())
    assert list((tmp_path / "traces").glob("*.pt.trace.json"))
    assert "training_step" in next((tmp_path / "traces").glob("*.txt")).read_text()
    with pytest.raises(MisconfigurationException, match="nsys"):
        PyTorchProfiler(emit_nvtx=True)
    with pytest.warns(UserWarning, match="has no effect"):
        PyTorchProfiler(record_module_names=True)
