"""The examples train real models, on data that is at hand, until they have learnt."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support import forkserver

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_S = 240
OWN = ("resnet", "bert", "t5", "gan", "transfer", "activations")


def run(folder, *command):
    """What a run of an example, as its first lines say, printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # small models only wait for a second thread
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(folder, name):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = forkserver.shared().run(
        [EXAMPLES / f"{name}.py"], timeout=DEADLINE_S, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(folder, version=0):
    """The rows of a run's metrics.csv."""
    with open(folder / f"lightning_logs/version_{version}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return [float(row[name]) for row in rows if row.get(name)]


def state(folder, version):
    """The weights of a run's only checkpoint."""
    [path] = (folder / f"lightning_logs/version_{version}/checkpoints").iterdir()
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("name", OWN)
def test_it_is_short(name):
    """An example is one file of at most 120 lines, which begins with how to run it, as the docs
    say, too."""
    text = (EXAMPLES / f"{name}.py").read_text()
    page = (EXAMPLES.parent / "docs/engine.md").read_text()

    assert len(text.splitlines()) <= 120
    assert f"python examples/{name}.py" in text.split('"""')[1]
    assert f"| `python examples/{name}.py` |" in page


def test_resnet(tmp_path):
    """S033, S189, S253: a residual network reads digits; the rate is drawn by step, the best epoch
    is kept and tested."""
    python(tmp_path, "resnet")
    rows = table(tmp_path)

    [accuracy] = column(rows, "test_acc")
    assert accuracy > 0.9
    rates = column(rows, "lr-SGD")
    assert len(rates) == 40  # 200 steps, of which every fifth is drawn
    assert 0.09 < max(rates) <= 0.1
    [kept] = (tmp_path / "lightning_logs/version_0/checkpoints").iterdir()
    assert kept.name.endswith(f"val_acc={max(column(rows, 'val_acc')):.3f}.ckpt")


def test_bert(tmp_path):
    """S043: a BERT learns to read, with and without weight decay, after a warm-up by step."""
    python(tmp_path, "bert")

    assert column(table(tmp_path), "val_acc")[-1] > 0.9
    [path] = (tmp_path / "lightning_logs/version_0/checkpoints").iterdir()
    groups = torch.load(path, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]
    assert all(len(group["params"]) > 10 for group in groups)
    assert [group["lr"] for group in groups] == [0.0, 0.0]  # the last step of the schedule


def test_t5_on_two_ranks(tmp_path):
    """S251, S257: a T5 learns to sum up; two ranks write one file, in the order of the data."""
    plaunch = Path(sys.executable).parent / "plaunch"
    words = ["--epochs", 5, "--output", tmp_path / "said.jsonl"]
    run(tmp_path, plaunch, "--procs", 2, EXAMPLES / "t5.py", *words)

    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    sys.path.insert(0, str(EXAMPLES))
    try:
        from t5 import Texts
    finally:
        sys.path.remove(str(EXAMPLES))
    data = Texts()
    data.setup()
    assert [(row["text"], row["summary"]) for row in rows] == data.unseen
    assert sum(row["said"] == row["summary"] for row in rows) > 0.8 * len(rows)


def test_gan(tmp_path):
    """S036: a generator and a discriminator take turns; points come to lie all around the ring."""
    python(tmp_path, "gan")
    rows = table(tmp_path)

    assert column(rows, "on_ring")[-1] > 0.7
    assert column(rows, "sectors")[-1] == 8
    assert column(rows, "generator_loss_epoch")
    assert column(rows, "discriminator_loss_epoch")


def test_transfer(tmp_path):
    """S069, S277: a frozen backbone keeps its weights and its norms' statistics to the last bit
    while a new head learns from its features."""
    printed = python(tmp_path, "transfer")

    assert float(re.search(r"5 to 9: ([\d.]+)", printed)[1]) > 0.85
    before, after = state(tmp_path, 0), state(tmp_path, 1)
    backbone = [name for name in before if name.startswith("backbone.")]
    assert any(name.endswith("running_mean") for name in backbone)
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_activations(tmp_path):
    """S123, S284: six fits of one process are version_0 to version_5, with a table at the end."""
    printed = python(tmp_path, "activations")

    lines = [line.split() for line in printed.splitlines()[1:]]
    assert sorted(line[-1] for line in lines) == [f"version_{n}" for n in range(6)]
    names = {path.name for path in (tmp_path / "lightning_logs").iterdir()}
    assert names == {f"version_{n}" for n in range(6)}
    for name, accuracy, _, version in lines:
        folder = tmp_path / "lightning_logs" / version
        assert f"activation: {name}\n" in (folder / "hparams.yaml").read_text()
        assert float(accuracy) > 0.5
        shown = column(table(tmp_path, version.removeprefix("version_")), "val_acc")[-1]
        assert shown == pytest.approx(float(accuracy), abs=1e-3)
