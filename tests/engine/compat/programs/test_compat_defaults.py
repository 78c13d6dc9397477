"""What a program takes for granted because the Lightning it was written for did so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pytest
import torch

from engine import Callback, MisconfigurationException, Trainer
from engine.callbacks import LearningRateMonitor, Timer
from engine.compat.commandline.cli import LightningArgumentParser
from engine.loggers import CSVLogger
from engine.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from engine.trainer.options.parsers import as_list
from tests.engine.support.compat_runs import found_by
from tests.engine.support.toy import Toy, loader, quiet

VERSION_1 = """
import lightning_utilities.core.rank_zero as before
import torch, warnings
import pytorch_lightning as pl

warnings.simplefilter("always")
seen = []


class Kept(pl.loggers.base.DummyLogger):
    def log_metrics(self, metrics, step=None):
        seen.append(sorted(metrics))


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).pow(2).mean()
        return {"loss": loss, "log": {"step_loss": loss}}

    def validation_step(self, batch, batch_idx):
        return torch.tensor(float(batch_idx))

    def validation_epoch_end(self, outputs):
        mean = torch.stack(outputs).mean() + self.current_epoch
        return {"val_loss": mean, "words": "no number", "log": {"val_log": 2.0},
                "progress_bar": {"val_bar": 3}}

    def training_epoch_end(self, outputs):
        return {"log": {"epoch_loss": outputs[0]["loss"]}}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(8, 2)), batch_size=4)
kept = pl.callbacks.ModelCheckpoint(dirpath="kept", monitor="val_loss", filename="{val_loss}")
stops = pl.callbacks.EarlyStopping(patience=1)
trainer = pl.Trainer(
    max_epochs=5, logger=Kept(), checkpoint_callback=kept, callbacks=[stops],
    progress_bar_refresh_rate=0, weights_summary=None, log_every_n_steps=1,
)
net = Net()
with warnings.catch_warnings(record=True) as said:
    trainer.fit(net, loader, loader)
    nothing = trainer.test(net, test_dataloaders=loader)


class Tested(Net):
    test_step = Net.validation_step
    def test_epoch_end(self, outputs):
        return torch.stack(outputs).sum()


metrics = sorted(trainer.callback_metrics)
print(json.dumps([
    trainer.current_epoch, kept.best_model_path.rpartition("/")[2], metrics,
    sorted({name for names in seen for name in names}), nothing,
    sum("self.log" in str(one.message) for one in said),
    sum("has no `test_step`" in str(one.message) for one in said),
    trainer.test(Tested(), loader, verbose=False)[0]["val_loss"],
    before.rank_zero_only.rank,
]))
"""


def test_hooks_of_version_1_return_what_is_logged_and_monitored(tmp_path: Path) -> None:
    """As in 1.0 to 1.2: what an epoch's end returns can be monitored, its `log` goes to loggers;
    a test without a test_step is left out with a warning. One line for each hook says what is new.
    """
    found = found_by(VERSION_1, tmp_path)
    epochs, best, monitored, logged, nothing, said, untested, tested, rank = found

    assert epochs <= 2  # val_loss rose: EarlyStopping looks at it by itself
    assert best == "val_loss=0.5.ckpt"
    assert {"val_loss", "early_stop_on", "val_log", "val_bar", "epoch_loss"} <= set(monitored)
    assert {"val_log", "step_loss", "epoch_loss"} <= set(logged)
    assert not {"val_loss", "val_bar", "words"} & set(logged)
    assert (nothing, said, untested, tested, rank) == ([], 3, 1, 1.0, 0)


VERSION_2 = """
import os
os.environ["RANK"] = "3"
import torch
import lightning as L
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos import Transformer, WikiText2
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning_utilities.core.rank_zero import rank_zero_only

rank = rank_zero_only.rank
del os.environ["RANK"]


class Net(L.LightningModule):
    def __init__(self, net, lr: float, *, depth=2):
        super().__init__()
        self.net = net

    def training_step(self, batch, batch_idx):
        pass


def made(*words):
    try:
        return LightningCLI(
            Net, run=False, save_config_callback=None, args=list(words)
        ).model.net
    except SystemExit as error:
        return error.code


with open("wikitext-2.txt", "w") as file:
    file.write("one two three\\n" * 40)
words = WikiText2(".", block_size=5)
scores = Transformer(vocab_size=words.vocab_size, ninp=4, nhid=4)(words[0][0][None])
net = Net(None, 0.1)
shown = [str(net._device), str(net._dtype)]
net._device = "elsewhere"
failed = ""
try:
    L.Trainer(logger=False, accelerator="cpu").test(net)
except Exception as error:
    failed = str(error)
from engine.runtime.compat_flags import compat_flags
print(json.dumps([
    rank, made("--model.lr", "1"), made("--model.lr=1", "--model.net=4"), made(), shown,
    net._device, list(scores.shape), words.vocab_size, failed,
    compat_flags.find_unused_parameters,
    isinstance(DDPStrategy(), ParallelStrategy),
    isinstance(L.Trainer(accelerator="cpu").strategy, ParallelStrategy),
]))
"""


def test_names_of_version_2_mean_what_they_did(tmp_path: Path) -> None:
    """The rank that lightning_utilities knows, arguments of the command line without a type, what
    the examples of 2.x import; and no default of 1.x, even by the name of both.
    """
    rank, none, four, missing, shown, own, shape, size, failed, *rest = found_by(
        VERSION_2, tmp_path
    )
    assert (rank, none, four, missing) == (3, None, 4, 2)
    assert (shown, own) == (["cpu", "torch.float32"], "elsewhere")
    assert (shape, size) == ([5, 4], 4)
    assert "has no `test_step`" in failed
    assert rest == [False, True, False]


class Several(Sequence[Any]):
    """A sequence of its own kind, as configurations have."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)


class Walked(Callback):
    """A callback that can be walked through, and is one all the same."""

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


KINDS = [
    list,
    tuple,
    set,
    frozenset,
    iter,
    lambda values: Several(*values),
    lambda v: (x for x in v),
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_iterable_of_callbacks_and_loggers_is_taken(tmp_path: Path, kind: Any) -> None:
    """Of the Trainer, of `configure_callbacks` and of devices; a set has the same order on every
    rank, whatever its hashes.
    """
    timer, logger = Timer(), CSVLogger(tmp_path)

    class Own(Toy):
        def configure_callbacks(self) -> Any:
            return kind([LearningRateMonitor()])

    trainer = quiet(
        tmp_path,
        callbacks=kind([timer, Walked()]),
        logger=kind([logger]),
        gpus=None,
        fast_dev_run=True,
    )
    assert [type(one) for one in trainer.callbacks] == [Timer, Walked]
    assert quiet(tmp_path, logger=kind([logger])).loggers == [logger]
    trainer.fit(Own(), loader(8), loader(8))
    assert any(isinstance(one, LearningRateMonitor) for one in trainer.callbacks)
    names = [type(one).__name__ for one in as_list({Walked(), timer, LearningRateMonitor()})]
    assert names == ["LearningRateMonitor", "Timer", "Walked"]


def test_devices_and_accelerator_come_with_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy object that names them counts as the Trainer's arguments do; both are an error."""
    from engine.compat.arguments import parse

    hardware = parse({"strategy": DDPStrategy(accelerator="cpu", num_nodes=1)}).hardware
    assert hardware.accelerator == "cpu"
    devices = [torch.device("cpu")] * 2
    hardware = parse({"plugins": DDPStrategy(parallel_devices=devices)}).hardware
    assert (hardware.accelerator, hardware.devices) == ("cpu", 2)
    devices = [torch.device("cuda", 1), torch.device("cuda", 3)]
    hardware = parse(
        {"strategy": FSDPStrategy(parallel_devices=devices), "accelerator": "auto"}
    ).hardware
    assert (hardware.accelerator, hardware.devices) == ("gpu", [1, 3])
    assert parse({"devices": Several(0, 2)}).hardware.devices == [0, 2]
    assert parse({"gpus": Several(0, 2)}).hardware.devices == [0, 2]
    with pytest.raises(MisconfigurationException, match="give one of them"):
        Trainer(devices=3, strategy=DDPStrategy(parallel_devices=devices))
    strategy = Trainer(accelerator="cpu", logger=False).strategy
    assert isinstance(strategy, SingleDeviceStrategy)
    assert not isinstance(strategy, DDPStrategy)


def test_numbers_of_a_command_line_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1e-3 is one in a YAML file, too, though YAML reads a text; a word is refused by its name."""

    class Net:
        def __init__(self, lr: float, name: str = "", depth: int = 1) -> None:
            pass

    def parsed(*words: str) -> Any:
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(Net, "model")
        return parser.parse(list(words))["model"]

    file = tmp_path / "run.yaml"
    file.write_text("model: {lr: 1e-3, name: '7'}")
    assert parsed("--config", str(file)) == {"lr": 1e-3, "name": "7"}
    assert parsed("--model.lr", "2e-3", "--model.depth=2") == {"lr": 2e-3, "depth": 2}
    with pytest.raises(SystemExit):
        parsed("--model.depth", "deep")
    assert "--model.depth is a number, not 'deep'" in capsys.readouterr().err
