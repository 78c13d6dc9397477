"""What the trainer shows of logged values while a step runs, and what stays of them."""

from __future__ import annotations

from engine import Callback
from tests.engine.support.toy import Toy, loader, quiet


class Counts(Toy):
    def training_step(self, batch, batch_idx):
        self.log("count", float(self.trainer.global_step), on_epoch=True, prog_bar=True)
        self.log("hidden", 1.0, logger=False)
        return self.loss(batch)


def test_metrics_in_a_hook_are_those_of_its_step(tmp_path):
    """Whether or not the step goes to loggers; after the fit the last step's are still there."""

    class Looks(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            found = (trainer.logged_metrics, trainer.progress_bar_metrics)
            seen.append([float(one["count_step"]) for one in (*found, trainer.callback_metrics)])
            assert "hidden" not in trainer.logged_metrics

    for options in ({"logger": True, "log_every_n_steps": 2}, {"logger": False}):
        seen = []
        trainer = quiet(tmp_path, max_epochs=2, callbacks=[Looks()], **options)
        trainer.fit(Counts(), loader(12), loader(4))

        assert seen == [[float(step)] * 3 for step in range(6)]
        for values in (trainer.logged_metrics, trainer.progress_bar_metrics):
            assert float(values["count_step"]) == 5.0
            assert float(values["count_epoch"]) == 4.0
        assert float(trainer.logged_metrics["val_loss"]) > 0
