"""Which devices and ranks the Trainer takes, by its arguments and by the world it is in."""

from __future__ import annotations

import os
import sys

import numpy
import pytest
import torch

from engine import MisconfigurationException, Trainer
from engine.compat.arguments import parse
from engine.runtime.distributed.world import World, read_world
from engine.strategies.choose import choose_strategy, device_indices


def hardware_of(**arguments):
    return parse(arguments).hardware


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
        (numpy.int64(2), [0, 1]),
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
    assert choose_strategy(hardware_of(gpus=gpus), World()).root_device == torch.device("cpu")


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
        ({"gpus": 8, "num_nodes": 4}, "plaunch --nodes 4 --gpus 8 train.py --lr 0.1"),
        ({"gpus": -1, "num_nodes": 4}, "plaunch --nodes 4 --gpus all train.py --lr 0.1"),
        ({"gpus": [1, 4], "num_nodes": 4}, "plaunch --nodes 4 --gpus 1,4 train.py --lr 0.1"),
        ({"gpus": "1, 4", "num_nodes": 4}, "srun --nodes=4 --ntasks-per-node=2 python"),
        ({"gpus": [3], "num_nodes": 2}, "plaunch --nodes 2 --gpus 3, train.py --lr 0.1"),
    ],
)
def test_alone_it_cannot_be_several_nodes(arguments, command, monkeypatch):
    """S134, S185, S186: the message has the command that starts the processes on all nodes, on the
    GPUs that were named, also where the machine that it was typed on has none.
    """
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(MisconfigurationException, match=command):
        Trainer(**arguments)


def test_the_cpu_is_the_default_and_a_gpu_must_be_there(monkeypatch):
    """S124, S242, S285: also where there is a GPU, unless a launcher gave it to the job; `gpus=[0]`
    is all that a script needs for it, and an error that says so where there is none.
    """
    assert choose_strategy(hardware_of(), World()).root_device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert choose_strategy(hardware_of(), World()).root_device == torch.device("cpu")
    assert choose_strategy(hardware_of(), LAUNCHED).root_device == torch.device("cuda", 1)
    assert choose_strategy(hardware_of(gpus=[1]), World()).root_device == torch.device("cuda", 1)
    assert choose_strategy(hardware_of(accelerator="auto"), World()).root_device == torch.device(
        "cuda", 0
    )
    with pytest.raises(MisconfigurationException, match="0 to 1"):
        choose_strategy(hardware_of(gpus=[2]), World())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MisconfigurationException, match=r"torch sees none on .* Leave gpus"):
        choose_strategy(hardware_of(gpus=[0]), World())


def test_the_launchers_world_counts(capsys):
    """S134: one line says so where the Trainer's numbers differ, none where they agree."""
    assert LAUNCHED.num_nodes == 2
    strategy = choose_strategy(hardware_of(accelerator="cpu", devices=3), LAUNCHED)
    assert strategy.world.world_size == 4
    assert capsys.readouterr().err.count("4 it is") == 1
    choose_strategy(hardware_of(accelerator="cpu", devices=2, num_nodes=2), LAUNCHED)
    assert not capsys.readouterr().err


@pytest.fixture
def gpus(monkeypatch):
    """A machine with eight GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.mark.parametrize(
    ("asked", "local_rank", "gpu"),
    [(2, 0, 0), (2, 1, 1), ([1, 4], 0, 1), ([1, 4], 1, 4), ("1, 4", 1, 4)],
    ids=str,
)
def test_gpus_on_each_of_four_nodes(asked, local_rank, gpu, gpus, capsys):
    """S134, S185, S186: eight ranks, each node's on its GPUs; a launcher has started them so, and
    there is nothing to be said."""
    world = World(6 + local_rank, local_rank, 8, 2, node_rank=3, launched=True)
    strategy = choose_strategy(hardware_of(gpus=asked, num_nodes=4), world)
    assert strategy.root_device == torch.device("cuda", gpu)
    assert (strategy.world.world_size, strategy.world.num_nodes) == (8, 4)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "local_ranks", "available", "taken"),
    [
        ([1, 4], 2, 2, [0, 1]),  # the launcher shows these two only
        ([1, 4], 2, 1, [0, 0]),  # or each rank its own
        ([1, 2], 4, 8, [0, 1, 2, 3]),  # no two ranks on one GPU
        ([4, 5, 6, 7], 2, 8, [4, 5]),
        ([4, 1], 2, 8, [4, 1]),
    ],
    ids=str,
)
def test_numbers_that_a_launcher_has_changed(
    asked, local_ranks, available, taken, gpus, monkeypatch, capsys
):
    """S134, S186: what a launcher gave counts, in a list of GPUs as well, and one line says so."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    found = []
    for rank in range(local_ranks):
        world = World(rank, rank, local_ranks, local_ranks, launched=True)
        found.append(choose_strategy(hardware_of(gpus=asked), world).root_device.index)
    assert found == taken
    lines = capsys.readouterr().err.splitlines()
    as_named = len(asked) == local_ranks and max(asked) < available
    assert len(lines) == (0 if as_named else local_ranks), lines
    assert (
        len(asked) != local_ranks or as_named or "not by the Trainer's numbers (1, 4)" in lines[0]
    )


def test_gpus_are_numbered_in_the_order_of_the_bus(gpus, monkeypatch):
    """S183: as nvidia-smi does it; what the user set stays, and nothing is set for the CPU."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")  # so that it is unset in the end, too
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    choose_strategy(hardware_of(), World())
    assert "CUDA_DEVICE_ORDER" not in os.environ
    choose_strategy(hardware_of(gpus="1, 4"), World())
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    choose_strategy(hardware_of(gpus=[1, 4]), World())
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_devices_auto_is_every_gpu_but_one_process_of_a_cpu(accelerator, gpus, capsys, monkeypatch):
    """C5: as in 2.x; a launcher's number counts without a word."""
    hardware = hardware_of(accelerator=accelerator, devices="auto")
    assert choose_strategy(hardware, World()).world.world_size == 8
    assert "GPU 0, 1, 2, 3, 4, 5, 6, 7" in capsys.readouterr().err
    assert choose_strategy(hardware, LAUNCHED).root_device == torch.device("cuda", 1)
    assert not capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for word in ("auto", "cpu"):
        hardware = hardware_of(accelerator=word, devices="auto")
        assert choose_strategy(hardware, World()).world.world_size == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [(1, "0"), ("3", "0, 1, 2"), ("3,", "3"), (-1, "0, 1, 2, 3, 4, 5, 6, 7")],
    ids=repr,
)
def test_the_gpus_that_are_taken_are_said(asked, said, gpus, capsys):
    """C13, S190: "3" is a count and "3," a list, as in 1.5; one line says what it came to."""
    choose_strategy(hardware_of(gpus=asked), World())
    assert capsys.readouterr().err == f"engine: GPU {said}\n"


LINES = [
    "Trainer(gpus=8, precision=16)",
    "Trainer(precision=16)",
    "Trainer(precision=32)",
    "Trainer(val_check_interval=0.25)",
    "Trainer(val_check_interval=1000)",
    "Trainer(gpus=None)",
    "Trainer(gpus=0)",
    "Trainer(gpus=1)",
    "Trainer(gpus=2)",
    "Trainer(gpus=[0])",
    "Trainer(gpus=[1, 4])",
    'Trainer(gpus="1, 4")',
    "Trainer(gpus=-1)",
    'Trainer(gpus="-1")',
    "Trainer(limit_train_batches=10)",
    "Trainer(limit_train_batches=0.25)",
    "Trainer(limit_val_batches=10)",
    "Trainer(limit_val_batches=0.25)",
    "Trainer(limit_test_batches=10)",
    "Trainer(limit_test_batches=0.25)",
    "Trainer(limit_predict_batches=10)",
    "Trainer(fast_dev_run=True)",
    "Trainer(fast_dev_run=7)",
    "Trainer(fast_dev_run=False)",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_tutorial_makes_a_trainer(line, gpus):
    """S266: on a machine with eight GPUs."""
    trainer = eval(line, {"Trainer": Trainer})
    assert trainer.precision in (16, 32)


@pytest.mark.parametrize("line", ["gpus=2, num_nodes=4", "gpus=[1, 4], num_nodes=4"])
def test_a_line_for_several_nodes_makes_a_trainer_there(line, gpus, monkeypatch):
    """S266: in the world of a launcher."""
    for name, value in {"RANK": 7, "LOCAL_RANK": 1, "WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    trainer = eval(f"Trainer({line})", {"Trainer": Trainer})
    assert (trainer.world_size, trainer.num_nodes, trainer.global_rank) == (8, 4, 7)


def test_a_trainer_shows_its_gpus(gpus):
    """C5: how many, and which."""
    trainer = Trainer(gpus=[3])
    assert (trainer.gpus, trainer.num_gpus, trainer.root_gpu) == ([3], 1, 3)
    assert (trainer.data_parallel_device_ids, trainer.accelerator) == ([3], "gpu")
