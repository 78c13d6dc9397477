"""Callbacks and loggers on two ranks: they agree, and rank zero alone writes."""

from pathlib import Path

import pytest

from tests.engine.support.ranks import ranks_in

PROGRAM = '''
import json, sys
from pathlib import Path

import torch
from tests.engine.support.scripted import Scripted, trainer_for

from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.loggers import CSVLogger, TensorBoardLogger

folder = Path.cwd()


class Uneven(Scripted):
    """Every rank has a value of its own, and says nothing of it to the others."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 0:
            # Rank 0 gets better all the time, rank 1 does not.
            rank, epoch = self.global_rank, self.current_epoch
            self.log("uneven", 1.0 / (epoch + 1) if rank == 0 else 1.0)


loggers = [TensorBoardLogger(), CSVLogger()]
stopping = EarlyStopping("uneven", patience=2)
checkpoint = ModelCheckpoint(
    monitor="uneven", filename="{epoch}-{uneven:.2f}", save_top_k=2, save_last=True
)
options = {"logger": loggers, "max_epochs": 9, "log_every_n_steps": 1}
trainer = trainer_for(folder, stopping, checkpoint, **options)
trainer.fit(Uneven([0.5] * 9))
facts = {
    "epoch": trainer.current_epoch,
    "reason": stopping.stopping_reason,
    "versions": [logger.version for logger in loggers],
    "best": checkpoint.best_model_path,
    "last": checkpoint.last_model_path,
    "k": sorted(checkpoint.best_k_models),
    "experiment": loggers[0].experiment.__class__.__name__,
}
Path(sys.argv[1]).write_text(json.dumps(facts))
'''


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> tuple[Path, list[dict]]:
    """What each of two ranks saw, and the folder of the run."""
    folder = tmp_path_factory.mktemp("ranks")
    # An earlier run is there already.
    (folder / "lightning_logs" / "version_0").mkdir(parents=True)
    with ranks_in(folder) as run:
        return folder, run(PROGRAM)


def test_one_rank_that_wants_to_stop_stops_all(ranks):
    """Rank 1 has had enough after epoch 3: both end there, and both can say so."""
    _, (zero, one) = ranks

    assert (zero["epoch"], one["epoch"]) == (3, 3)
    assert zero["reason"] == "another rank stopped"
    assert one["reason"].startswith("no better than 1")


def test_checkpoints_are_those_that_rank_zero_chose(ranks):
    """Ranks that see different values keep the same files in mind."""
    folder, (zero, one) = ranks

    assert zero["best"] == one["best"]
    assert zero["last"] == one["last"]
    assert zero["k"] == one["k"]
    kept = {path.name for path in (folder / "lightning_logs/version_1/checkpoints").iterdir()}
    assert kept == {"epoch=1-uneven=0.50.ckpt", "epoch=2-uneven=0.33.ckpt", "last.ckpt"}


def test_there_is_one_version_and_one_writer(ranks):
    """Both loggers on both ranks name the same new version; one event file, one table."""
    folder, (zero, one) = ranks

    assert zero["versions"] == one["versions"] == [1, 1]
    assert (zero["experiment"], one["experiment"]) == ("SummaryWriter", "Silent")
    names = sorted(
        path.name.split(".")[0] for path in (folder / "lightning_logs/version_1").iterdir()
    )
    assert names == ["checkpoints", "events", "metrics"]
