"""The guide's code blocks about runs: logging, data modules, checkpoints, callbacks, loggers."""

from __future__ import annotations

import csv
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from tests.engine.support.foreign_fakes import Noted, install
from tests.engine.support.toy import samples
from tests.seeds.repairs import START, missing_import
from tests.seeds.torchvision_stub import downloads

LOAD_LOGGERS = (
    START
    + """
def load_loggers():
    tb_logger = TensorBoardLogger('logs/')
    csv_logger = CSVLogger('logs/')
    comet_logger = CometLogger(save_dir='logs/')
    return [tb_logger, csv_logger, comet_logger]

def load_callbacks():
    checkpoint = ModelCheckpoint(
        monitor='loss_epoch',
        filename='best-{epoch:02d}-{loss_epoch:.3f}',
        save_top_k=1,
        mode='max',
        save_last=True
    )
    return [checkpoint]

trainer = Trainer(logger=load_loggers(), callbacks=load_callbacks(), max_epochs=3)
"""
)
REPAIRS = (
    missing_import("from pytorch_lightning.loggers import CometLogger"),
    missing_import("from pytorch_lightning.callbacks import ModelCheckpoint"),
)
# What the block does import, above its first line.
GIVEN = (
    "from pytorch_lightning import Trainer\n"
    "from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger\n"
)


@pytest.fixture
def block(old):
    return old("old_001")


@pytest.fixture
def comet(monkeypatch):
    """Comet's library, which notes what it is asked for."""
    experiment = Noted(id="a1", url="")

    def make(*_, **__):
        return experiment

    install(
        monkeypatch,
        "comet_ml",
        OfflineExperiment=make,
        get_config=lambda _: None,
        generate_guid=lambda: "a1",
    )
    return experiment


def pairs(count=24, size=4):
    return DataLoader(TensorDataset(*samples(count).tensors[:2]), batch_size=size)


def scalars(folder, name):
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_what_becomes_of_logged_values(block):
    """S268: numbers on record are those of a plain loop: a loss at its step, its mean at the end of
    the epoch, validation's own mean, and what `validation_epoch_end` made of all predictions."""
    import pytorch_lightning as pl

    torch.manual_seed(1)
    model = block.LitClassifier()
    weight, bias = (p.detach().clone() for p in model.layer.parameters())
    trainer = pl.Trainer(max_epochs=2, log_every_n_steps=1, progress_bar_refresh_rate=0)
    trainer.fit(model, pairs(), pairs(12))

    layer = torch.nn.Linear(4, 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    losses, means, val_losses, mean_preds = [], [], [], []
    for _ in range(2):
        epoch = []
        for x, y in pairs():
            loss = torch.nn.functional.cross_entropy(layer(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch.append(loss.detach())
        losses += epoch
        means.append(torch.stack(epoch).mean())
        with torch.no_grad():
            said = [layer(x) for x, _ in pairs(12)]
            each = [
                torch.nn.functional.cross_entropy(out, y)
                for out, (_, y) in zip(said, pairs(12), strict=True)
            ]
        val_losses.append(torch.stack(each).mean())
        mean_preds.append(torch.cat(said).mean())

    folder = trainer.logger.log_dir
    for name, values in (
        ("train_loss_step", losses),
        ("train_loss_epoch", means),
        ("val_loss", val_losses),
        ("mean_pred", mean_preds),
    ):
        expected = pytest.approx([float(value) for value in values], rel=1e-5)
        assert [value for _, value in scalars(folder, name)] == expected, name
    assert "train_loss_epoch" in trainer.progress_bar_metrics


def test_data_module(block):
    """S269: data is fetched once, `size()` makes the model, fit and test take their own parts."""
    downloads.clear()
    trainer, dm, results = block.fit_by_size()

    assert (dm.size(), dm.size(0)) == ((1, 28, 28), 1)
    assert trainer.global_step == 7
    assert set(results[0]) == {"test_loss"}
    assert 2 <= len(downloads) <= 4  # both sets, for fit and for test


def test_keep_the_best(block):
    """S270: three best by name, and the last."""
    torch.manual_seed(1)
    trainer = block.keep_the_best(block.LitClassifier(0.003), pairs(), pairs(12))

    kept = {path.name: path for path in trainer_folder(trainer).iterdir()}
    losses = [value for _, value in scalars(trainer.logger.log_dir, "val_loss")]
    best = sorted(range(5), key=lambda epoch: losses[epoch])[:3]
    names = {f"sample-mnist-epoch={epoch:02d}-val_loss={losses[epoch]:.2f}.ckpt" for epoch in best}
    assert set(kept) == {*names, "last.ckpt"}
    assert torch.load(kept["last.ckpt"], weights_only=True)["global_step"] == 30


def trainer_folder(trainer):
    from pathlib import Path

    return Path(trainer.logger.log_dir) / "checkpoints"


@pytest.fixture
def checkpoint(block, tmp_path):
    """A checkpoint of one epoch, its model, and the weights that it began with."""
    import pytorch_lightning as pl

    model = block.Sized(in_dim=4, out_dim=2, learning_rate=0.02)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = pl.Trainer(max_epochs=1, logger=False, progress_bar_refresh_rate=0)
    trainer.fit(model, pairs(), pairs())
    trainer.save_checkpoint("example.ckpt")
    return str(tmp_path / "example.ckpt"), model, start


def test_load(block, checkpoint):
    """S271: weights and hyper-parameters come back, and the model predicts without a trainer."""
    path, model, _ = checkpoint
    loaded = block.Sized.load_from_checkpoint(path)

    assert loaded.hparams.learning_rate == 0.02
    loaded.eval()
    x = samples().tensors[0]
    assert torch.equal(loaded(x), model.eval()(x))


def test_load_with_another_value(block, checkpoint):
    """S271: a value that is given takes the place of the one in the file."""
    path, _, _ = checkpoint
    loaded = block.Sized.load_from_checkpoint(path, learning_rate=0.5)
    assert (loaded.hparams.learning_rate, loaded.hparams.in_dim) == (0.5, 4)
    with pytest.raises(RuntimeError, match=r"layer\.weight"):
        block.Sized.load_from_checkpoint(path, in_dim=128)


def test_resume(block, checkpoint):
    """S271: `resume_from_checkpoint` goes on where the file ends."""
    import pytorch_lightning as pl

    path, _, start = checkpoint
    resumed = block.Sized(in_dim=4, out_dim=2, learning_rate=0.02)
    trainer = block.resume(resumed, path, pairs())
    assert trainer.global_step == 3 * 6

    whole = block.Sized(in_dim=4, out_dim=2, learning_rate=0.02)
    whole.load_state_dict(start)
    pl.Trainer(max_epochs=3, logger=False, progress_bar_refresh_rate=0).fit(whole, pairs(), pairs())
    assert torch.equal(whole.layer.weight, resumed.layer.weight)


def test_stop_early(block):
    """S272: three validations without a higher loss, and training ends by itself."""
    torch.manual_seed(1)
    trainer = block.stop_early(block.LitClassifier(), pairs(), pairs(12))
    # The loss falls from the first validation on, and `mode="max"` calls that no improvement.
    assert trainer.global_step == 4 * 6


def test_print_tables(block, capsys):
    """S273: after each epoch a table of all epochs so far; steps may return what they like."""
    block.print_tables(block.LitClassifier(), pairs(), pairs(12))

    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    header, first = (line.split("│") for line in lines[:2])
    names = [name.strip() for name in header]
    assert {"train_loss", "val_loss", "epoch"} <= set(names)
    assert names[-1] == "epoch"
    assert len(lines) == 2 + 3
    assert [line.split("│")[-1].strip() for line in lines] == ["epoch", "0", "epoch", "0", "1"]
    assert len({len(line) for line in lines[:2]}) == 1
    assert float(first[names.index("val_loss")]) > 0


def test_several_loggers(block, comet, tmp_path, monkeypatch):
    """S274: TensorBoard, a code snapshot in TestTube's place, CSV and Comet get the same."""
    # The snapshot is of the program's repository, and a worker of the tests has no program.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    trainer = block.several_loggers()
    trainer.fit(block.LitClassifier(), pairs(), pairs(12))

    tables = list(tmp_path.rglob("metrics.csv"))
    with open(tables[0], newline="") as file:
        [shown] = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert len(tables) == 1
    assert len(trainer.loggers) == 4
    assert len(list(tmp_path.rglob("events.*"))) >= 1
    sent = {
        name: value
        for _, args, _ in comet.calls
        for each in args
        if isinstance(each, dict)
        for name, value in each.items()
    }
    assert sent["val_loss"] == pytest.approx(shown)


def test_the_experiment_itself(block):
    """S275: pictures, histograms and texts go to TensorBoard through `logger.experiment`."""
    import pytorch_lightning as pl

    trainer = pl.Trainer(max_epochs=1, limit_train_batches=2, progress_bar_refresh_rate=0)
    trainer.fit(block.DrawsItself(), pairs())

    events = EventAccumulator(trainer.logger.log_dir)
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["images"]
    assert tags["histograms"] == ["weights"]
    assert "said/text_summary" in tags["tensors"]


def test_load_loggers_and_callbacks(run_block, block, comet, tmp_path):
    """S276, C10: with the two missing imports the lists are a trainer's, and the greatest
    `loss_epoch` is kept beside the last."""
    for left_out in REPAIRS:
        some = tuple(each for each in REPAIRS if each is not left_out)
        with pytest.raises(NameError):
            run_block(GIVEN + LOAD_LOGGERS, some)

    trainer = run_block(GIVEN + LOAD_LOGGERS, REPAIRS)["trainer"]

    class Logs(block.OneLoss):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    torch.manual_seed(1)
    trainer.fit(Logs(0.01), pairs())
    kept = sorted(path.name for path in tmp_path.rglob("*.ckpt"))
    assert len(kept) == 2
    assert kept[0].startswith("best-epoch=00-loss_epoch=")  # the loss was highest at first
    assert kept[1] == "last.ckpt"
