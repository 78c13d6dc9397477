"""The Trainer's arguments: the table, the spellings of 1.x, and what is refused."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields

import pytest
import torch

from engine import Callback, MisconfigurationException, Trainer
from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from engine.devices import device_indices, place
from engine.distributed import World, read_world
from engine.options import LATER, OPTIONS, parse
from engine.settings import (
    DataSettings,
    FitSettings,
    HardwareSettings,
    OutputSettings,
    TuneSettings,
)


def hardware_of(**arguments):
    return parse(arguments).hardware


def test_each_argument_is_in_one_setting():
    """The table and the settings are the same list."""
    kinds = (FitSettings, DataSettings, HardwareSettings, OutputSettings, TuneSettings)
    names = [field.name for kind in kinds for field in fields(kind)]
    assert sorted(names) == sorted(option.name for option in OPTIONS)
    assert set(LATER) <= set(names)


def test_the_signature_shows_the_table():
    """help(Trainer) and editors see names and defaults."""
    parameters = inspect.signature(Trainer.__init__).parameters
    assert parameters["max_epochs"].default is None
    assert parameters["log_every_n_steps"].default == 50
    assert "accumulate_grad_batches: batches a step" in Trainer.__init__.__doc__


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("max_epoch", "max_epochs"), ("gpu", "gpus"), ("callback", "callbacks"), ("xyzzy", None)],
)
def test_an_unknown_argument_names_the_nearest(wrong, hint):
    """A typo is no silent default."""
    with pytest.raises(TypeError, match=wrong) as error:
        Trainer(**{wrong: 1})
    assert (f"did you mean '{hint}'" in str(error.value)) == (hint is not None)


@pytest.mark.parametrize("name", sorted(LATER))
def test_an_argument_of_later_is_refused_not_ignored(name):
    """Its neutral value is taken, any other says that it is not supported yet."""
    parse({name: LATER[name][0]})
    with pytest.raises(MisconfigurationException, match="not supported yet"):
        parse({name: "something"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"num_processes": 2}, {"accelerator": "cpu", "devices": 2}),
        ({"gpus": 2}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": None}, {}),
        ({"gpus": 0}, {"accelerator": "cpu"}),
        (
            {"gpus": "1, 4", "num_nodes": 4},
            {"accelerator": "gpu", "devices": "1, 4", "num_nodes": 4},
        ),
        (
            {"accelerator": "ddp", "gpus": 2},
            {"strategy": "ddp", "accelerator": "gpu", "devices": 2},
        ),
        ({"accelerator": "ddp_cpu"}, {"strategy": "ddp", "accelerator": "cpu"}),
        ({"distributed_backend": "ddp"}, {"strategy": "ddp"}),
        ({"checkpoint_callback": False}, {"enable_checkpointing": False}),
        ({"progress_bar_refresh_rate": 0}, {"enable_progress_bar": False}),
        ({"weights_summary": None}, {"enable_model_summary": False}),
        ({"replace_sampler_ddp": False}, {"use_distributed_sampler": False}),
        ({"max_steps": None}, {"max_steps": -1}),
        ({"gradient_clip_val": 0}, {"gradient_clip_val": 0.0}),
        ({"precision": 16}, {"precision": "16-mixed"}),
    ],
    ids=str,
)
def test_old_spellings_mean_the_new_ones(old, new):
    """The settings are the same."""
    assert parse(old) == parse(new)


def test_what_old_spellings_carry():
    """A refresh rate, a depth, a checkpoint, a callback in the place of a switch."""
    callback = ModelCheckpoint()
    output = parse(
        {
            "progress_bar_refresh_rate": 20,
            "weights_summary": "full",
            "resume_from_checkpoint": "a.ckpt",
            "checkpoint_callback": callback,
        }
    ).output
    assert (output.refresh_rate, output.summary_depth, output.ckpt_path) == (20, -1, "a.ckpt")
    assert output.callbacks == [callback]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_epochs": -2},
        {"limit_train_batches": 1.5},
        {"limit_val_batches": -1},
        {"accumulate_grad_batches": 0},
        {"val_check_interval": 0},
        {"val_check_interval": 1.5},
        {"precision": 8},
        {"gradient_clip_algorithm": "both"},
        {"num_nodes": "many"},
        {"enable_checkpointing": "yes"},
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_what_to_give(arguments):
    """The message has the argument's name and its meaning."""
    (name,) = arguments
    with pytest.raises((MisconfigurationException, ValueError), match=name):
        parse(arguments)


def test_fast_dev_run_leaves_nothing_behind():
    """A few batches, no loggers, no checkpoints."""
    settings = parse({"fast_dev_run": 7, "max_epochs": 100})
    assert settings.data.limit_train_batches == settings.data.limit_predict_batches == 7
    assert (settings.fit.max_epochs, settings.fit.max_steps) == (1, 7)
    assert not settings.output.logger and not settings.output.enable_checkpointing


def test_how_long_without_a_word(tmp_path):
    """1000 epochs as in 1.x, but not if a number of steps was given."""
    assert parse({}).fit.max_epochs == 1000
    assert parse({"max_steps": 5}).fit.max_epochs is None
    assert parse({"max_epochs": -1}).fit.max_epochs == -1


# ---------------------------------------------------------------------- devices

LAUNCHED = World(rank=3, local_rank=1, world_size=4, local_world_size=2, node_rank=1, launched=True)


def test_the_world_is_read_from_torchruns_variables():
    """And from nothing else."""
    env = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "SLURM_PROCID": "9",
    }
    assert read_world(env) == LAUNCHED
    assert LAUNCHED.num_nodes == 2
    assert read_world({"SLURM_PROCID": "9", "SLURM_NTASKS": "8"}) == World()


@pytest.mark.parametrize(
    ("gpus", "indices"),
    [
        (2, [0, 1]),
        ([1, 3], [1, 3]),
        ((1, 3), [1, 3]),
        ("1, 3", [1, 3]),
        ("1,3", [1, 3]),
        (-1, [0, 1, 2, 3]),
        ("-1", [0, 1, 2, 3]),
        ("2", [0, 1]),
        ("3,", [3]),
        ([0], [0]),
        (["0", "2"], [0, 2]),
        (1, [0]),
        ("1", [0]),
    ],
    ids=str,
)
def test_numbers_count_and_lists_name(gpus, indices):
    """S136, S182-S184, S187, C13: numbers count, also in a text; what has a comma names."""
    for said in ({"gpus": gpus}, {"accelerator": "gpu", "devices": gpus}):
        hardware = hardware_of(**said)
        assert hardware.accelerator == "gpu"
        assert device_indices(hardware.devices, available=4) == indices


@pytest.mark.parametrize("gpus", [None, 0, "0", "", []], ids=repr)
def test_no_gpus_is_the_cpu(gpus, monkeypatch):
    """S136, S181: also on a machine that has GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert place(hardware_of(gpus=gpus), World()).root_device == torch.device("cpu")


@pytest.mark.parametrize("gpus", ["two", [0, 0], [-1], 1.5, True, "1;2", -2], ids=repr)
def test_what_is_no_list_of_gpus_is_refused(gpus):
    """S136: with what to give."""
    with pytest.raises(MisconfigurationException, match=r"gpus=.*'0,1'|each device once"):
        parse({"gpus": gpus})


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"devices": 2, "num_nodes": 4}, "plaunch --nodes 4 --procs 2 .*train.py --lr 0.1"),
        ({"num_processes": 3, "num_nodes": 2}, "plaunch --nodes 2 --procs 3 "),
        ({"num_nodes": 2}, "srun --nodes=2 --ntasks-per-node=1 python"),
    ],
)
def test_alone_it_cannot_be_several_nodes(arguments, command, monkeypatch):
    """S134: the message has the command that starts the processes on all nodes."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(MisconfigurationException, match=command):
        Trainer(**arguments)


def test_the_cpu_is_the_default_and_a_gpu_must_be_there(monkeypatch):
    """S124, S242, S285: also where there is a GPU, unless a launcher gave it to the job; `gpus=[0]`
    is all that a script needs for it, and an error that says so where there is none.
    """
    assert place(hardware_of(), World()).root_device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert place(hardware_of(), World()).root_device == torch.device("cpu")
    assert place(hardware_of(), LAUNCHED).root_device == torch.device("cuda", 1)
    assert place(hardware_of(gpus=[1]), World()).root_device == torch.device("cuda", 1)
    assert place(hardware_of(accelerator="auto"), World()).root_device == torch.device("cuda", 0)
    with pytest.raises(MisconfigurationException, match="0 to 1"):
        place(hardware_of(gpus=[2]), World())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MisconfigurationException, match=r"torch sees none on .* Leave gpus"):
        place(hardware_of(gpus=[0]), World())


def test_the_launchers_world_counts(capsys):
    """S134: one line says so where the Trainer's numbers differ, none where they agree."""
    assert LAUNCHED.num_nodes == 2
    strategy = place(hardware_of(accelerator="cpu", devices=3), LAUNCHED)
    assert strategy.world.world_size == 4
    assert capsys.readouterr().err.count("4 it is") == 1
    place(hardware_of(accelerator="cpu", devices=2, num_nodes=2), LAUNCHED)
    assert not capsys.readouterr().err


# ---------------------------------------------------------------------- callbacks


def names(trainer):
    return [type(callback).__name__ for callback in trainer.callbacks]


def test_the_callbacks_that_are_there_by_default():
    """A checkpoint, a bar and a summary, each unless it is switched off or there already."""
    assert names(Trainer()) == ["ProgressBar", "ModelSummary", "ModelCheckpoint"]
    switched = Trainer(
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    assert names(switched) == []
    mine = [ModelCheckpoint(monitor="x"), EarlyStopping("x"), LearningRateMonitor()]
    given = Trainer(callbacks=mine, enable_progress_bar=False, enable_model_summary=False)
    assert names(given) == ["EarlyStopping", "LearningRateMonitor", "ModelCheckpoint"]
    assert given.checkpoint_callback is mine[0]
    assert given.early_stopping_callback is mine[1]


def test_one_callback_needs_no_list_and_others_are_refused():
    """callbacks= takes a Callback or several."""

    class Mine(Callback):
        pass

    assert "Mine" in names(Trainer(callbacks=Mine()))
    with pytest.raises(MisconfigurationException, match="no Callback"):
        Trainer(callbacks=[print])
    with pytest.raises(MisconfigurationException, match="leave out one"):
        Trainer(callbacks=ModelCheckpoint(), enable_checkpointing=False)
