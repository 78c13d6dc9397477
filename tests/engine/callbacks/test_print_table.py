"""PrintTableMetricsCallback: the metrics of all epochs so far, whatever the steps return."""

import pytest

from engine import Callback
from engine.callbacks import PrintTableMetricsCallback
from tests.engine.support.scripted import Scripted, trainer_for


class Tutorial(Scripted):
    """Logs the columns of the tutorial's table; `returns` says what its evaluation steps return."""

    returns = staticmethod(lambda: None)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", 2.0)
        return {"loss": loss, "shown": 1}

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 10.0 + self.current_epoch)
        return self.returns()

    def test_step(self, batch, batch_idx):
        return self.returns()


def test_the_tutorials_table(tmp_path, capsys):
    """S217, S273: all epochs so far after each one, columns aligned, the epoch last."""
    trainer_for(tmp_path, PrintTableMetricsCallback(), max_epochs=2).fit(Tutorial())

    first = ["loss│train_loss│val_loss│epoch", "─" * 30, "2   │0.7       │10      │0    "]
    second = [*first, "2   │0.3       │11      │1    "]
    assert capsys.readouterr().out.splitlines() == [*first, *second]


@pytest.mark.parametrize(
    "returns",
    [
        lambda: None,
        lambda: 1.5,
        lambda: {"val_loss": object(), "logits": [1, 2]},
        lambda: ["a", None],
    ],
)
def test_what_a_step_returns_does_not_matter(tmp_path, capsys, returns):
    """S245: a validation or test step that returns something leaves the table as it is."""
    model = Tutorial()
    model.returns = returns
    trainer = trainer_for(tmp_path, PrintTableMetricsCallback())
    trainer.fit(model)
    trainer.test(model, verbose=False)

    assert capsys.readouterr().out.splitlines() == [
        "loss│train_loss│val_loss│epoch",
        "─" * 30,
        "2   │0.7       │10      │0    ",
    ]


def test_without_metrics_or_validation(tmp_path, capsys):
    """S007: a module that logs nothing has a table of epochs; it is an engine Callback."""

    class Bare(Scripted):
        validation_step = val_dataloader = None

        def training_step(self, batch, batch_idx):
            return (self.weight * batch).mean()

    table = PrintTableMetricsCallback()
    assert isinstance(table, Callback)
    trainer_for(tmp_path, table).fit(Bare())

    assert capsys.readouterr().out.splitlines() == ["epoch", "─────", "0    "]


def test_a_second_fit_has_a_table_of_its_own(tmp_path):
    """S217: epochs of an earlier fit are not shown again."""
    table = PrintTableMetricsCallback()
    for _ in range(2):
        trainer_for(tmp_path, table).fit(Tutorial())
        assert [row["epoch"] for row in table.rows] == [0]
