"""Profilers: what a run's time goes to; nothing is put in its way without one."""

import json
import re
from pathlib import Path

import pytest
import torch

from engine import Callback, MisconfigurationException
from engine.loops.hooks import Hooks
from engine.profilers import (
    AdvancedProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from tests.engine.support.toy import Toy, loader, quiet, weights


def calls_of(report: str) -> dict[str, int]:
    """How often each action of a simple report was called."""
    rows = re.findall(r"^(\w+) +[\d.e+-]+ +(\d+) ", report, flags=re.MULTILINE)
    return {action: int(count) for action, count in rows}


class Noted(Profiler):
    """Keeps what starts and stops, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[str] = []

    def start(self, action_name: str) -> None:
        self.actions.append(f"+{action_name}")

    def stop(self, action_name: str) -> None:
        self.actions.append(f"-{action_name}")


class Seen(Callback):
    def on_train_batch_start(self, *_) -> None:
        pass


def test_simple_counts_every_action(tmp_path, capsys):
    """S165: profiler="simple" prints a report; each action counts as often as it happened."""
    quiet(tmp_path, profiler="simple", callbacks=[Seen()], max_epochs=2).fit(
        Toy(), loader(12), loader(8)
    )
    report = capsys.readouterr().out

    assert report.startswith("Profiler report\nAction")
    counts = calls_of(report)
    expected = {
        "training_step": 6,
        "backward": 6,
        "optimizer_step": 6,
        "train_dataloader_next": 6,
        "on_train_batch_start": 6,
        "validation_step": 4,
        "validation_dataloader_next": 4,
        "configure_optimizers": 1,
    }
    assert {name: counts.get(name) for name in expected} == expected


def test_advanced_names_functions(tmp_path, capsys):
    """S165: profiler="advanced" shows the functions of each action, test and predict as well."""
    trainer, model = quiet(tmp_path, profiler="advanced"), Toy()
    trainer.fit(model, loader(12), loader(8))
    report = capsys.readouterr().out
    assert "Profile of action: training_step" in report
    assert "(training_step)" in report
    assert "(run_backward)" in report or "backward" in report

    trainer.test(model, loader(8), verbose=False)
    report = capsys.readouterr().out
    assert "Profile of action: test_step" in report
    assert "Profile of action: training_step" not in report
    trainer.predict(model, loader(8))
    assert "Profile of action: predict_step" in capsys.readouterr().out


def test_pytorch_names_operators(tmp_path):
    """S165: torch's profiler records a few steps; its report and trace lie where they are told."""
    profiler = PyTorchProfiler(tmp_path / "report", "operators")
    quiet(tmp_path, profiler=profiler).fit(Toy(), loader(40), loader(8))

    report = (tmp_path / "report" / "fit-operators.txt").read_text()
    assert "aten::" in report
    trace = json.loads((tmp_path / "report" / "fit-operators.pt.trace.json").read_text())
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("training_step") >= 3
    assert names.count("training_step") < 10


def test_pytorch_with_fewer_steps_than_it_leaves_out(tmp_path, capsys):
    """A run of one step is too short to record: the report says so."""
    quiet(tmp_path, profiler="pytorch", limit_train_batches=1).fit(Toy(), loader(40), loader(0 + 4))
    out = capsys.readouterr().out
    assert "Profiler report" in out


def test_a_report_goes_into_a_file(tmp_path, capsys):
    """With only a filename the report is in the run's folder, under the stage's name."""
    trainer = quiet(tmp_path, profiler=SimpleProfiler(filename="times"), logger=True)
    trainer.fit(Toy(), loader(12), loader(8))

    assert capsys.readouterr().out == ""
    report = (tmp_path / "lightning_logs" / "version_0" / "fit-times.txt").read_text()
    assert calls_of(report)["training_step"] == 3


def test_actions_are_nested_and_balanced(tmp_path):
    """An object of one's own gets every action's start and stop, in the order of a step."""
    noted = Noted()
    trainer = quiet(tmp_path, profiler=noted)
    trainer.fit(Toy(), loader(4), loader(4))
    assert trainer.profiler is noted

    open_actions = []
    for action in noted.actions:
        if action[0] == "+":
            open_actions.append(action[1:])
        else:
            assert open_actions.pop() == action[1:]
    assert open_actions == []
    kept = ("training_step", "backward", "optimizer_step")
    order = [action for action in noted.actions if action[1:] in kept]
    assert order.index("-training_step") < order.index("+backward")
    assert "-optimizer_step" in order


@pytest.mark.parametrize("kind", [SimpleProfiler, AdvancedProfiler, PyTorchProfiler])
def test_a_run_that_fails_is_followed_by_one_that_does_not(tmp_path, kind):
    """What an error left open is forgotten, and the module is as it was."""

    class Failing(Toy):
        fails = True

        def training_step(self, batch, batch_idx):
            if self.fails and batch_idx == 1:
                raise KeyError("mine")
            return super().training_step(batch, batch_idx)

    model, profiler = Failing(), kind(tmp_path, "times")
    with pytest.raises(KeyError, match="mine"):
        quiet(tmp_path, profiler=profiler).fit(model, loader(12), loader(4))
    assert "training_step" not in vars(model)
    model.fails = False
    quiet(tmp_path, profiler=profiler).fit(model, loader(12), loader(4))
    assert (tmp_path / "fit-times.txt").exists()


@pytest.mark.parametrize("profiler", ["simple", "advanced", "pytorch"])
def test_training_is_the_same_with_a_profiler(tmp_path, profiler):
    """A profiler changes no weight."""
    plain, profiled = Toy(dropout=0.2), Toy(dropout=0.2)
    for model, wanted in ((plain, None), (profiled, profiler)):
        torch.manual_seed(1)
        quiet(tmp_path, profiler=wanted).fit(model, loader(), loader())
    assert torch.equal(weights(plain), weights(profiled))


def test_without_a_profiler_nothing_is_put_around(tmp_path):
    """Off costs nothing in a step: hooks, steps and loaders are the bare ones."""
    seen = []

    class Looks(Toy):
        def training_step(self, batch, batch_idx):
            hooks = self.trainer._run.hooks
            batches = iter(())
            seen.append((type(hooks), "training_step" in vars(self), hooks.fetching("x", batches)))
            assert hooks.fetching("x", batches) is batches
            return super().training_step(batch, batch_idx)

    for nothing in (None, False, "passthrough", PassThroughProfiler()):
        trainer = quiet(tmp_path, profiler=nothing)
        trainer.fit(Looks(), loader(4), loader(4))
        with trainer.profiler.profile("mine"):  # code that measures itself runs all the same
            pass
    assert {one[:2] for one in seen} == {(Hooks, False)}


def test_a_wrong_profiler_is_said(tmp_path):
    """A word that is none, and actions that stop without a start, are errors."""
    with pytest.raises(MisconfigurationException, match="'simple', 'advanced', 'pytorch'"):
        quiet(tmp_path, profiler="simpel")
    with pytest.raises(MisconfigurationException, match=r"engine\.profilers"):
        quiet(tmp_path, profiler=SimpleProfiler)
    for profiler in (SimpleProfiler(), AdvancedProfiler()):
        with pytest.raises(ValueError, match="has not started"):
            profiler.stop("x")
    simple = SimpleProfiler()
    simple.start("x")
    with pytest.raises(ValueError, match="started already"):
        simple.start("x")


RANKS = """
import json, sys
from tests.engine.support.toy import Toy, loader, quiet
from engine.profilers import SimpleProfiler
profiler = SimpleProfiler(sys.argv[1] + ".reports", "times")
quiet(".", devices=2, strategy="ddp", profiler=profiler).fit(Toy(), loader(16), loader(8))
json.dump(str(profiler.path()), open(sys.argv[1], "w"))
"""


def test_each_rank_has_a_report(run_ranks):
    """Under DDP every rank measures its own share of the steps, in a file of its own."""
    reports = run_ranks(RANKS)

    assert [Path(path).name for path in reports] == ["fit-times.txt", "fit-times-1.txt"]
    for path in reports:
        counts = calls_of(Path(path).read_text())
        assert (counts["training_step"], counts["backward"], counts["optimizer_step"]) == (2, 2, 2)
