"""A program whose training is told to make room at chosen steps, and what it leaves behind."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.engine.support.ranks import DEADLINE_S, start_ranks
from tests.support import forkserver
from tests.support.forkserver import Program

PROGRAM = """
import json, os, sys, time
from pathlib import Path
import torch
from torch.utils.data import DataLoader, Dataset
from engine import Callback, LightningModule, Trainer, seed_everything
from engine.callbacks import ModelCheckpoint
from engine.runtime.coordination.signals import preemption

options = json.loads(sys.argv[1])
rank = int(os.environ.get("RANK", 0))


def wait_to_be_told(name):
    # Waits here until a signal has come to this very process; "NAME-RANK" says that it is here.
    Path(f"{name}-{rank}").write_text(str(os.getpid()))
    give_up = time.monotonic() + 120
    while preemption.signal is None:
        assert time.monotonic() < give_up, "nobody told us"
        time.sleep(0.005)


class Data(Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(count, 4, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], int(self.x[index].sum() > 0), index


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
        )
        self.validated = []

    def on_fit_start(self):
        self.began = self.global_step
        Path(f"pid-{rank}").write_text(str(os.getpid()))
        if options.get("cut_at_start") and self.began == 0 and not Path(f"start-{rank}").exists():
            wait_to_be_told("start")

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        with open(f"seen-{rank}", "a") as file:
            file.write(json.dumps([self.global_step, batch[2].tolist()]) + chr(10))
        if self.global_step in options.get("cuts", []) and self.global_step != self.began:
            wait_to_be_told(f"step-{self.global_step}")
        time.sleep(options.get("slow", 0))
        loss = self.loss(batch)
        self.log("train", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        if options.get("cut_in_validation") == self.global_step and self.began == 0:
            wait_to_be_told("validation")
        self.log("val", self.loss(batch))

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            with open(f"validated-{rank}", "a") as file:
                file.write(f"{self.global_step} ")

    def on_save_checkpoint(self, checkpoint):
        for number in options.get("signals_while_saving", []):
            os.kill(os.getpid(), number)

    def test_step(self, batch, batch_idx):
        if options.get("cut_in_test") and not Path(f"test-{rank}").exists():
            wait_to_be_told("test")
        self.log("test", self.loss(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return [optimizer], [{"scheduler": plateau, "monitor": "val"}]


class Ends(Callback):
    def on_exception(self, trainer, pl_module, exception):
        Path(f"exception-{rank}").write_text(type(exception).__name__)

    def teardown(self, trainer, pl_module, stage):
        for number in options.get("signals_while_saving", []):
            os.kill(os.getpid(), number)


def main():
    seed_everything(5, verbose=False)
    net = Net()
    best = ModelCheckpoint(monitor="val", save_top_k=2)
    trainer = Trainer(
        enable_progress_bar=False, enable_model_summary=False, logger=False, accelerator="cpu",
        **{"callbacks": [Ends(), best], "max_epochs": 2, "val_check_interval": 0.4,
           **options.get("trainer", {})},
    )
    workers = options.get("workers", {})
    train = DataLoader(Data(options.get("count", 96)), batch_size=4, shuffle=True, **workers)
    val = DataLoader(Data(10), batch_size=5, **workers)
    trainer.fit(net, train, val, ckpt_path=options.get("ckpt_path"))
    rates = trainer.optimizers[0].param_groups[0]["lr"]
    facts = {
        "weights": torch.cat([p.detach().flatten() for p in net.parameters()]).tolist(),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "step": trainer.global_step, "began": net.began, "rate": rates,
        "best": {os.path.basename(k): float(v) for k, v in best.best_k_models.items()},
    }
    if options.get("cut_in_test"):
        trainer.test(net, train, verbose=False)
    Path(f"end-{rank}").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
"""


def words(**options: object) -> list[str]:
    """The program's arguments."""
    return [json.dumps(options)]


def write(folder: Path) -> Path:
    """Write the program; returns its path."""
    path = folder / "train.py"
    path.write_text(PROGRAM)
    return path


def ends(folder: Path, ranks: int = 1) -> list[dict]:
    """What each rank has left at the end of the training."""
    return [json.loads((folder / f"end-{rank}").read_text()) for rank in range(ranks)]


def seen(folder: Path, rank: int = 0) -> list[list]:
    """The step and the samples of each batch that a rank has trained on, over all attempts."""
    return [json.loads(line) for line in (folder / f"seen-{rank}").read_text().splitlines()]


@dataclass(frozen=True)
class Whole:
    """What a run that nothing cuts leaves: each rank's end, its samples, when it validated."""

    ends: list[dict]
    seen: list[list]
    validated: list[str]


def whole(ranks: int, **options: object) -> Whole:
    """A run that nothing cuts, without a launcher; the same one for all tests that ask for it."""
    return _whole(ranks, *words(**options))


@functools.cache
def _whole(ranks: int, options: str) -> Whole:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started: list[Program] = []
        try:
            for process in start_ranks([[write(folder), options]] * ranks, folder):
                started.append(process)
            said = [process.communicate(DEADLINE_S) for process in started]
            assert [process.returncode for process in started] == [0] * ranks, said
        finally:
            for process in started:
                process.kill()
        return Whole(
            ends(folder, ranks),
            [seen(folder, rank) for rank in range(ranks)],
            (folder / "validated-0").read_text().split(),
        )


def alone(folder: Path, **options: object) -> Program:
    """Start the program without a launcher."""
    command = [str(write(folder)), *words(**options)]
    return forkserver.shared().start(command, cwd=folder, env=environment())


def environment() -> dict[str, str]:
    """One thread a process, and no launcher around it."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
