"""self.log: which values are taken, what becomes of them, and where they arrive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import Callback, LightningModule, MisconfigurationException
from engine.loggers import MemoryLogger
from tests.engine.support.logs import Logs, logged_by, series
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def test_the_mean_is_over_samples(tmp_path):
    """S095, S105: a smaller last batch counts less; batch_size says what a batch does not."""

    class Mean(Toy):
        def validation_step(self, batch, batch_idx):
            value = batch[2].float().mean()
            self.log("mean", value)
            self.log("given", float(batch_idx), batch_size=1)

    trainer = quiet(tmp_path)
    trainer.fit(Mean(), loader(), loader(10))
    assert float(trainer.callback_metrics["mean"]) == 4.5
    assert float(trainer.callback_metrics["given"]) == 1.0


@pytest.mark.parametrize(
    ("reduce", "value"),
    [
        ("max", 5.0),
        (torch.max, 5.0),
        ("min", 0.0),
        (torch.sum, 15.0),
        ("mean", 2.5),
        (lambda values: values.median(), 2.0),
    ],
)
def test_reductions(tmp_path, reduce, value):
    """S096: by name, torch's own, or a function of the user's."""
    trainer, _ = logged_by(tmp_path, Logs("validation_step", reduce_fx=reduce))
    assert float(trainer.callback_metrics["it"]) == value


@pytest.mark.parametrize("value", [1, 1.5, np.float64(2.5), torch.tensor([3.0]), torch.tensor(2)])
def test_values_of_many_kinds(tmp_path, value):
    """S090, S091: numbers of python, numpy and torch; names with spaces."""

    class Kinds(Toy):
        def validation_step(self, batch, batch_idx):
            self.log("a name", value, on_step=True)

    trainer, logger = logged_by(tmp_path, Kinds())
    assert float(trainer.callback_metrics["a name"]) == float(value)
    assert series(logger, "a name_epoch") == [(5, float(value))]


@pytest.mark.parametrize("value", [torch.ones(2), "text", None])
def test_what_is_no_number_is_refused(tmp_path, value):
    """The name is in the message."""

    class Odd(Toy):
        def training_step(self, batch, batch_idx):
            self.log("odd", value)
            return self.loss(batch)

    with pytest.raises(MisconfigurationException, match="'odd'"):
        quiet(tmp_path).fit(Odd(), loader(), loader())


def test_how_often_loggers_get_step_values(tmp_path):
    """S094, S107: every log_every_n_steps optimizer steps (50); the epoch goes with them."""
    by_default = MemoryLogger()
    quiet(tmp_path, logger=by_default).fit(Toy(), loader(120, 1))
    assert [step for step, _ in series(by_default, "train_loss_step")] == [49, 99]
    logger = MemoryLogger()
    trainer = quiet(tmp_path, logger=logger, log_every_n_steps=5, max_epochs=2)
    trainer.fit(Toy(), loader(), loader())
    assert [step for step, _ in series(logger, "train_loss_step")] == [4, 9]
    assert [value for _, value in series(logger, "epoch")][-1] == 1
    assert len(series(logger, "val_loss")) == 2
    never = MemoryLogger()
    quiet(tmp_path, logger=never, log_every_n_steps=0).fit(Toy(), loader(), loader())
    assert not series(never, "train_loss_step") and len(series(never, "train_loss_epoch")) == 1


def test_loggers_all_get_the_same_and_false_keeps_it_from_them(tmp_path):
    """S093: logger=False is for monitors only."""
    first, second = MemoryLogger(), MemoryLogger()

    class Some(Toy):
        def validation_step(self, batch, batch_idx):
            self.log_dict({"a": 1.0, "b": 2.0}, logger=False)
            self.log("c", 3.0)

    trainer = quiet(tmp_path, logger=[first, second])
    trainer.fit(Some(), loader(), loader())
    assert first.rows == second.rows
    assert not series(first, "a")
    assert {"a", "b", "c"} <= set(trainer.callback_metrics)
    assert (trainer.logger, trainer.loggers) == (first, [first, second])
    assert (trainer.logger[0], trainer.logger[1]) == (first, second)  # as in 1.x
    assert list(MemoryLogger())  # one alone is the first


def test_a_dict_is_logged_as_its_values_are(tmp_path):
    """S071: log_dict does with each value what self.log does, with the same arguments."""

    class Each(Toy):
        def training_step(self, batch, batch_idx):
            for name, value in {"a": self.loss(batch), "b": float(batch_idx)}.items():
                self.log(name, value, on_step=True, on_epoch=True, prog_bar=True, reduce_fx="max")
            return self.loss(batch)

    class Together(Toy):
        def training_step(self, batch, batch_idx):
            values = {"a": self.loss(batch), "b": float(batch_idx)}
            self.log_dict(values, on_step=True, on_epoch=True, prog_bar=True, reduce_fx="max")
            return self.loss(batch)

    (one, first), (two, second) = (logged_by(tmp_path, kind()) for kind in (Each, Together))
    assert first.rows == second.rows
    assert series(second, "b_epoch") == [(5, 5.0)]
    assert one.callback_metrics == two.callback_metrics
    assert one.progress_bar_metrics == two.progress_bar_metrics != {}


def test_step_values_of_an_evaluation(tmp_path):
    """S094: on_step=True in validation and test is a series over their batches, which goes on from
    one validation to the next; the sanity check is not among them.
    """
    _, logger = logged_by(
        tmp_path,
        Logs("validation_step", on_step=True),
        max_epochs=2,
        num_sanity_val_steps=0,
        limit_val_batches=3,
    )
    assert series(logger, "it_step") == [(i, float(i)) for i in range(6)]
    assert series(logger, "it_epoch") == [(5, 1.0), (11, 4.0)]
    _, logger = logged_by(tmp_path, Logs("validation_step", on_step=True), num_sanity_val_steps=2)
    assert series(logger, "it_step") == [(i, 2.0 + i) for i in range(6)]
    _, logger = logged_by(tmp_path, Logs("test_step", on_step=True, on_epoch=False), run="test")
    assert series(logger, "it") == [(i, float(i)) for i in range(6)]


def test_several_loaders_have_names_of_their_own(tmp_path):
    """A suffix says which, unless it is not wanted; test() gives each loader's own."""

    class Two(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("v", 1.0, on_step=True)

        def test_step(self, batch, batch_idx, dataloader_idx):
            self.log("x", float(dataloader_idx))
            self.log("same", 1.0, add_dataloader_idx=False)

    trainer = quiet(tmp_path)
    results = trainer.test(Two(), [loader(), loader(8)], verbose=False)
    assert results == [
        {"x/dataloader_idx_0": 0.0, "same": 1.0},
        {"x/dataloader_idx_1": 1.0, "same": 1.0},
    ]
    logger = MemoryLogger()
    trainer = quiet(tmp_path, logger=logger)
    trainer.fit(Two(), loader(), [loader(4), loader(4)])
    for loader_idx in "01":
        mark = f"/dataloader_idx_{loader_idx}"
        assert {f"v{mark}", f"v_epoch{mark}"} <= set(trainer.callback_metrics)
        assert len(series(logger, f"v_step{mark}")) == len(series(logger, f"v_epoch{mark}")) == 1


def test_metric_objects_add_up_by_themselves(tmp_path):
    """S091: a torchmetrics object is computed once an epoch and begins anew after it."""
    torchmetrics = pytest.importorskip("torchmetrics")

    class Counts(Toy):
        def __init__(self):
            super().__init__()
            self.mean = torchmetrics.MeanMetric()

        def validation_step(self, batch, batch_idx):
            self.mean(batch[2].float())
            self.log("mean", self.mean)

    _, logger = logged_by(tmp_path, Counts(), max_epochs=2)
    assert [value for _, value in series(logger, "mean")] == [11.5, 11.5]


def test_metric_objects_can_be_asked_at_the_end_of_an_epoch(tmp_path):
    """S091: hooks of its end still find what came in; then all begin anew, those that were logged
    for steps alone, too."""
    torchmetrics = pytest.importorskip("torchmetrics")
    seen = []

    class Best(Toy):
        def __init__(self):
            super().__init__()
            self.stepped, self.mean = torchmetrics.SumMetric(), torchmetrics.MeanMetric()
            self.best = torchmetrics.MaxMetric()

        def training_step(self, batch, batch_idx):
            self.stepped(batch[2].float())
            self.log("stepped", self.stepped)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.mean(batch[2].float())
            self.log("mean", self.mean)

        def on_validation_epoch_end(self):
            self.best(self.mean.compute())
            self.log("best", self.best.compute())

        def on_train_epoch_end(self):
            seen.append((float(self.mean.weight), float(self.stepped.compute())))

    model = Best()
    trainer, _ = logged_by(tmp_path, model, max_epochs=2)
    assert float(trainer.callback_metrics["best"]) == 11.5
    assert seen == [(0.0, 276.0)] * 2
    assert float(model.stepped.sum_value) == 0.0


@pytest.mark.parametrize("value", [0.1, np.float64(0.1), torch.tensor(0.1, dtype=torch.float64)])
def test_numbers_are_as_exact_as_they_came(tmp_path, value):
    """S091: 64 bits stay 64 bits, in step values and in epoch values; 32 stay 32."""

    class Exact(Toy):
        def training_step(self, batch, batch_idx):
            self.log("wide", value, on_step=True, on_epoch=True)
            self.log("narrow", torch.tensor(0.1), on_step=True, on_epoch=True)
            return self.loss(batch)

    trainer, logger = logged_by(tmp_path, Exact())
    assert {v for _, v in series(logger, "wide_step")} == {0.1}
    assert [v for _, v in series(logger, "wide_epoch")] == [pytest.approx(0.1, rel=1e-15)]
    assert trainer.callback_metrics["narrow"].dtype == torch.float32
    assert trainer.callback_metrics["wide"].dtype == torch.float64


def test_a_value_that_changes_later_counts_as_it_was(tmp_path):
    """An epoch's sum takes in the number, not the memory that it lies in."""

    class Changes(Toy):
        def validation_step(self, batch, batch_idx):
            value = torch.tensor(float(batch_idx))
            self.log("v", value)
            value.fill_(100.0)

    trainer = quiet(tmp_path)
    trainer.fit(Changes(), loader(), loader())
    assert float(trainer.callback_metrics["v"]) == 2.5


def test_logging_keeps_no_graph_and_does_not_grow(tmp_path):
    """What is kept of a step is one detached number."""
    kept = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            entries = trainer._logged.collection.entries
            assert not any(e.latest.requires_grad for e in entries.values())
            kept.append(sum(len(e.values) for e in entries.values()) + len(entries))

    quiet(tmp_path, callbacks=Watch(), max_epochs=2).fit(Toy(), loader(), loader())
    assert set(kept) == {1}


def test_arguments_of_old_versions_are_taken(tmp_path):
    """S099, S102: those of 1.x change nothing here, but for a graph that is wanted."""
    graphs = {}

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            graphs.update({name: v.grad_fn for name, v in trainer.callback_metrics.items()})

    class Old(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("a", loss, False, True, True, False, torch.mean, torch.mean, 0, False, False)
            self.log("b", loss, sync_dist=True, sync_dist_op="mean", sync_dist_group=None)
            self.log("c", loss, enable_graph=True)
            return loss

    trainer = quiet(tmp_path, callbacks=Watch())
    with pytest.warns(UserWarning, match="tbptt_reduce_fx"):
        trainer.fit(Old(), loader(), loader())
    assert {"a", "b", "c"} <= set(trainer.callback_metrics)
    assert (graphs["a"], graphs["b"]) == (None, None)
    assert graphs["c"] is not None


def test_a_module_alone_can_be_stepped():
    """Without a trainer, self.log has no effect and says so."""
    with pytest.warns(UserWarning, match="outside of a Trainer"):
        loss = Toy().training_step(next(iter(loader())), 0)
    assert loss.requires_grad


def test_the_experiment_is_the_loggers_own(tmp_path):
    """S108, S229: self.logger.experiment takes what self.log does not; TensorBoard reads both."""

    class Draws(LightningModule):
        def test_step(self, batch, batch_idx):
            experiment = self.logger.experiment
            experiment.add_text("note", "hello", self.global_step)
            experiment.add_image("digit", torch.zeros(1, 8, 8), self.global_step)
            experiment.add_histogram("inputs", batch[0], self.global_step)
            self.log("number", 7.0)

    trainer = quiet(tmp_path, logger=True)
    trainer.test(Draws(), loader(4), verbose=False)
    events = EventAccumulator(str(tmp_path / "lightning_logs" / "version_0"))
    tags = events.Reload().Tags()
    assert (tags["images"], tags["histograms"]) == (["digit"], ["inputs"])
    assert "note/text_summary" in tags["tensors"]
    assert [event.value for event in events.Scalars("number")] == [7.0]


def test_what_the_end_of_an_epoch_logs_under_a_steps_name_counts(tmp_path):
    """For callbacks, bar and loggers, until the next epoch's first step."""

    class Both(Toy):
        def training_step(self, batch, batch_idx):
            self.log("shared", 100.0, prog_bar=True)
            return self.loss(batch)

        def training_epoch_end(self, outputs):
            self.log("shared", 111.0, prog_bar=True)

    class Looks(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics["shared"]))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(float(trainer.callback_metrics["shared"]))

        def on_train_end(self, trainer, pl_module):
            shown.append(float(trainer.progress_bar_metrics["shared"]))

        monitor = "shared"  # after the module's own hooks

    seen: list[float] = []
    shown: list[float] = []
    trainer = quiet(tmp_path, max_epochs=2, callbacks=[Looks()], limit_val_batches=0)
    trainer.fit(Both(), loader(4), loader(4))

    assert seen == [100.0, 111.0, 100.0, 111.0]
    assert shown == [111.0]
    assert float(trainer.callback_metrics["shared"]) == 111.0
    assert float(trainer.logged_metrics["shared"]) == 111.0
