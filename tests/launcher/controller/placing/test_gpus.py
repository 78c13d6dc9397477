"""GPUs as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.controller.placing.gpus import FREE_MEMORY_BYTES, Gpu, divide, from_json, to_json

ONE = Gpu(
    index=0,
    uuid="MIG-1",
    name="NVIDIA H200 MIG 1g.18gb",
    memory_total=18 * 2**30,
    memory_used=2**20,
    processes=((1, "root"), (2, "")),
    exclusive=True,
    leased="run j of u, pid 1",
    parent="GPU-1",
    mig_name="MIG-GPU-1/1/0",
    usable=True,
    problem="the driver says: Unknown Error",
    machine_index=3,
)


def test_gpus_survive_the_way_through_json() -> None:
    """What a node says arrives as it was."""
    assert from_json(json.loads(json.dumps(to_json([ONE, Gpu(1, "GPU-2")])))) == (
        ONE,
        Gpu(1, "GPU-2"),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"uuid": None},
        {"index": "0"},
        {"usable": 1},
        {"processes": [1]},
        {"processes": [["x", "y"]]},
        {"name": ["a"]},
    ],
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    """What comes from a node is checked field by field."""
    (entry,) = to_json([ONE])

    with pytest.raises(ValueError, match="not a GPU"):
        from_json([{**entry, **change}])


def test_a_missing_field_is_refused() -> None:
    """Nothing is filled in by guess."""
    (entry,) = to_json([ONE])
    del entry["leased"]

    with pytest.raises(ValueError, match="not a GPU: KeyError"):
        from_json([entry])


def test_a_little_memory_in_use_is_still_free() -> None:
    """The threshold itself is free, a byte more isn't."""
    assert Gpu(0, "a", memory_used=FREE_MEMORY_BYTES).free
    assert not Gpu(0, "a", memory_used=FREE_MEMORY_BYTES + 1).free


def test_only_an_exclusive_gpu_with_a_process_is_blocked() -> None:
    """Exclusive mode alone, or a process alone, leaves a GPU usable."""
    process = ((1, "root"),)

    assert Gpu(0, "a", exclusive=True).blocked == ""
    assert Gpu(0, "a", processes=process).blocked == ""
    assert Gpu(0, "a", processes=process, exclusive=True).blocked == (
        "it is in exclusive mode, and used by pid 1 (root)"
    )


def test_many_processes_are_told_shortly() -> None:
    """A GPU that fifty processes share fills no screen."""
    gpu = Gpu(0, "a", processes=tuple((pid, "u") for pid in range(1, 50)))

    assert gpu.users == "used by pid 1 (u), 2 (u), 3 (u) and more"


@given(st.integers(0, 20), st.integers(1, 8))
def test_dividing_loses_nothing_and_is_even(num_gpus: int, num_nodes: int) -> None:
    """Every GPU goes to one node, neighbours together, and no node has two more than another."""
    gpus = [Gpu(index, f"GPU-{index}") for index in range(num_gpus)]

    parts = divide(gpus, num_nodes)

    sizes = [len(part) for part in parts]
    assert [gpu for part in parts for gpu in part] == gpus
    assert len(parts) == num_nodes
    assert max(sizes) - min(sizes) <= 1
