"""A script that asks for several processes and was started alone: real processes, real deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import MisconfigurationException, Trainer
from engine.runtime.distributed import launch as starting
from tests.engine.support.toy import Toy, loader
from tests.support import forkserver
from tests.support.forkserver import Program

ROOT = Path(__file__).parents[3]
DEADLINE_S = 90

SCRIPT = """
import json, os, subprocess, sys, time
from pathlib import Path
rank = os.environ.get("RANK", "0")
what, folder = sys.argv[1], Path(sys.argv[2])
for name in (f"pid-{rank}", f"pid-{rank}-{os.getpid()}"):
    (folder / name).write_text(str(os.getpid()))
if what == "fails early" and rank == "1":
    raise ValueError("early words")
if what == "never comes" and rank == "1":
    sys.exit(0)

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset
from engine import LightningModule, Trainer

x = torch.randn(48, 4, generator=torch.Generator().manual_seed(7))
data = TensorDataset(x, (x.sum(1) > 0).long())


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)
        self.drawn = torch.randn(2, device=self.device)

    def training_step(self, batch, batch_idx):
        self.print("printed by the module")
        if self.logger is not None:
            self.logger.experiment.add_scalar("drawn", 1.0, batch_idx)  # on each rank
        if what == "fails late" and rank == "1":
            raise ValueError("late words")
        if what == "goes on" and batch_idx == 1:
            (folder / f"trains-{rank}").touch()
            time.sleep(600)
        if what == "is told":
            (folder / f"trains-{rank}").touch()
            time.sleep(0.02)
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("count", float(len(batch[0])), reduce_fx="sum")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


os.makedirs(folder / "elsewhere", exist_ok=True)
os.chdir(folder / "elsewhere")
quiet = dict(enable_progress_bar=False, enable_model_summary=False)
quiet["max_epochs"] = -1 if what == "is told" else 1
torch.manual_seed(int(rank))
earlier = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **quiet)
trainer = Trainer(accelerator="ddp_cpu", num_processes=2, default_root_dir=folder / "one", **quiet)
before = [trainer.world_size, trainer.global_rank, dist.is_initialized()]
model = Net()
trainer.fit(model, DataLoader(data, batch_size=8))
second = Trainer(strategy="ddp_spawn", devices=2, default_root_dir=folder / "two", **quiet)
second.fit(Net(), DataLoader(data, batch_size=8))
validated = earlier.validate(model, DataLoader(data), verbose=False)
validated += trainer.validate(model, DataLoader(data), verbose=False)
asks = (
        "from engine.runtime.distributed.world import read_world as r; "
        "print(r().world_size, r().launched)"
    )
nested = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True).stdout
facts = dict(
    before=before, world=[trainer.world_size, trainer.global_rank, trainer.local_rank],
    backend=dist.get_backend(), weights=model.net.weight.tolist(), argv=sys.argv,
    steps=[trainer.global_step, second.global_step], device=str(model.device),
    validated=validated, worlds=[earlier.world_size, second.world_size], nested=nested,
)
print("printed by the script")
(folder / f"facts-{rank}.json").write_text(json.dumps(facts))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start the script as a person does; all its processes are gone when the test ends."""
    (tmp_path / "train.py").write_text(SCRIPT)
    started: list[Program] = []

    def start(what: str, *interpreter: str) -> Program:
        words = [*(interpreter or ("train.py",)), what, str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        started.append(forkserver.shared().start(words, cwd=tmp_path, env=env))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)
    for path in tmp_path.glob("pid-*"):
        if is_alive(int(path.read_text())):
            os.kill(int(path.read_text()), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.02)


def nobody_is_left(folder: Path) -> bool:
    return not any(is_alive(int(path.read_text())) for path in folder.glob("pid-*"))


def test_a_script_alone_starts_the_other_ranks(start, tmp_path):
    """S135, S072, S238, S240: `num_processes=2` and `devices=2` are two gloo processes, which
    follow the whole script; its words come once, and rank zero alone writes events.
    """
    process = start("works")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    first, second = (json.loads((tmp_path / f"facts-{r}.json").read_text()) for r in (0, 1))
    assert first["before"] == [2, 0, False]  # nothing is started before the first fit
    assert (first["world"], second["world"]) == ([2, 0, 0], [2, 1, 1])
    assert first["backend"] == "gloo"
    assert first["weights"] == second["weights"]  # though each rank has drawn its own
    assert first["steps"] == second["steps"] == [3, 3]
    assert first["argv"] == second["argv"]
    assert first["device"] == "cpu"
    # One made before the others were there works with them; a program that a rank starts is alone.
    assert first["validated"] == second["validated"] == [{"count": 48.0}] * 2
    assert first["worlds"] == second["worlds"] == [2, 2]
    assert first["nested"] == second["nested"] == "1 False\n"
    assert out.count("printed by the script") == 1
    assert out.count("printed by the module") == 6
    assert err.count("'ddp_spawn' runs as 'ddp'") == 1
    for name in ("one", "two"):
        writers = {path.suffixes[-2][1:] for path in (tmp_path / name).rglob("events.out*")}
        assert writers == {(tmp_path / "pid-0").read_text()}
    assert nobody_is_left(tmp_path)
    assert len(list(tmp_path.glob("pid-1-*"))) == 1  # each rank was started once


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("fails early", ["ValueError: early words", "rank 1 failed with exit code 1"]),
        ("fails late", ["ValueError: late words", "rank 1 failed with exit code 1"]),
        ("never comes", ["rank 1 came to the end of the script and not to the fit"]),
    ],
)
def test_a_rank_that_fails_is_named(start, tmp_path, what, words):
    """Its own error is shown, not rank zero's broken connection; nobody is left."""
    process = start(what, "-m", "train")
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    for word in words:
        assert word in err
    assert "Connection closed" not in err
    wait_until(lambda: nobody_is_left(tmp_path), "all processes are gone")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_rank_outlives_rank_zero(start, tmp_path, number):
    """Killed or interrupted in a step: the others end with it, whatever they do."""
    process = start("goes on")
    wait_until(lambda: len(list(tmp_path.glob("trains-*"))) == 2, "both ranks train")
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -number, err
    wait_until(lambda: nobody_is_left(tmp_path), "all processes are gone")
    assert err.count("KeyboardInterrupt") <= 1


def test_rank_zero_waits_for_no_dead_rank(start, tmp_path):
    """Killed while rank zero is busy in a step and can't notice by itself."""
    process = start("goes on")
    wait_until(lambda: len(list(tmp_path.glob("trains-*"))) == 2, "both ranks train")
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGKILL
    assert "rank 1 was ended by SIGKILL: rank 0 ends, too" in err
    assert nobody_is_left(tmp_path)


def test_a_warning_to_rank_zero_is_one_to_all(start, tmp_path):
    """SIGTERM: the ranks stop at one step, save, and end with the code of a preemption."""
    process = start("is told")
    wait_until(lambda: len(list(tmp_path.glob("trains-*"))) == 2, "both ranks train")
    process.terminate()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 75, err
    assert err.count("SIGTERM: stopped at step") == 1
    assert len(list(tmp_path.rglob("preempted-step=*.ckpt"))) == 1
    wait_until(lambda: nobody_is_left(tmp_path), "all processes are gone")


def test_where_there_is_no_script_it_is_known(monkeypatch):
    """In a test, a notebook, after `python -c` or within multiprocessing nothing can be started
    again. Where ranks need that all the same, as a search for a learning rate does, the error says
    what to do, and nothing has been started.
    """
    trainer = Trainer(accelerator="cpu", devices=2, logger=False, enable_checkpointing=False)
    assert (trainer.world_size, trainer.global_rank) == (2, 0)
    with pytest.raises(MisconfigurationException, match="put the code into a file"):
        trainer.tuner.lr_find(Toy(), loader())
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert "an interactive session or a notebook" in (starting.why_no_script() or "")
    monkeypatch.delattr(sys, "ps1")
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert "python -c" in (starting.why_no_script() or "")


TYPED = """
import os, torch
from engine import LightningModule, Trainer
class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        return self.net(torch.ones(1, 1)).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)

net = Net()
start, words = net.net.bias.item(), dict(logger=False, enable_progress_bar=False)
trainer = Trainer(num_processes=2, accelerator="ddp_cpu", max_steps=1, **words)
trainer.fit(net, range(4))
print("moved", round(net.net.bias.item() - start, 3), trainer.world_size, trainer.global_step)
"""


@pytest.mark.parametrize("words", [["-i", "-q"], ["-c", TYPED]], ids=["typed", "-c"])
def test_a_program_without_a_file_has_ranks(tmp_path, words):
    """Line by line from standard input, as one types, and after `python -c`: what is learned on two
    ranks is here after the fit.
    """
    done = subprocess.run(
        [sys.executable, *words],
        input="" if "-c" in words else TYPED,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0 and "moved -0.5 2 1" in done.stdout, done.stderr
