"""What a node says of its GPUs, from NVIDIA's library (a stand-in where there is no driver)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.agent.node.gpu_lease import Lease
from launcher.agent.node.gpu_probe import DRIVER_FILES, probe_node, visible_units
from launcher.controller.placing.gpus import Gpu, probe

ROOT = Path(__file__).parents[3]
GIB = 2**30
Driver = Callable[..., None]
A, B, C = "GPU-aa11", "GPU-aa22", "GPU-bb33"
MIG_1, MIG_2 = "MIG-cc11", "MIG-cc22"
THREE = [{"uuid": A}, {"uuid": B}, {"uuid": C}]
MIXED = [
    {"uuid": A},
    {"uuid": B, "mig": [{"uuid": MIG_1, "gi": 1, "ci": 0}, {"uuid": MIG_2, "gi": 2, "ci": 0}]},
]


def uuids(visible: str | None) -> list[str]:
    return [gpu.uuid for gpu in probe(visible)]


def test_a_machine_without_a_driver_has_no_gpu() -> None:
    """No driver is no error, and NVIDIA's large library isn't even read."""
    if any(map(os.path.exists, DRIVER_FILES)):
        pytest.skip("this machine has an NVIDIA driver")
    code = (
        "import sys; from launcher.agent.node.gpu_probe import probe_node; print(probe_node(None), "
        "{'pynvml', 'ctypes', 'dataclasses'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert done.stdout == "{'gpus': [], 'visible': None, 'error': ''} set()\n"


def test_a_gpu_is_described(driver: Driver) -> None:
    """Name, UUID, memory, and the processes with their owners, for compute and graphics."""
    me, nobody = os.getpid(), 2**22 + 1
    gpu = {
        "uuid": A,
        "name": "NVIDIA H200",
        "memory_total": 141 * GIB,
        "memory_used": 3 * GIB,
        "reserved": GIB,
        "compute_pids": [me],
        "graphics_pids": [me, nobody],
        "compute_mode": 3,
    }
    driver(gpu)

    owner = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout
    assert probe(None) == (
        Gpu(
            index=0,
            uuid=A,
            name="NVIDIA H200",
            memory_total=141 * GIB,
            memory_used=3 * GIB,
            processes=((me, owner.strip()), (nobody, "")),
            exclusive=True,
        ),
    )


def test_the_drivers_reserve_is_no_use_of_memory(driver: Driver) -> None:
    """An idle GPU whose driver keeps half a gigabyte for itself is free."""
    driver({"uuid": A, "memory_used": 0, "reserved": GIB // 2})

    assert probe(None)[0].free


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"compute_pids": [1]}, "used by pid 1 (root)"),
        ({"graphics_pids": [1]}, "used by pid 1 (root)"),
        ({"memory_used": 2 * GIB}, "2.0 GiB in use by an unseen process"),
    ],
)
def test_a_gpu_with_a_process_or_memory_in_use_is_not_free(
    driver: Driver, state: dict[str, Any], why: str
) -> None:
    """Whatever its utilisation; memory counts, since other containers' processes are unseen."""
    driver({"uuid": A, **state})

    (gpu,) = probe(None)

    assert (gpu.free, gpu.users) == (False, why)


def test_a_leased_gpu_is_not_free_except_for_its_own_run(driver: Driver) -> None:
    """Another run's lease counts; one's own doesn't."""
    driver(*THREE)
    lease = Lease("job-7")
    lease.take([B])
    try:
        assert [gpu.free for gpu in probe(None)] == [True, False, True]
        assert probe(None)[1].users.startswith("leased by run job-7 of ")
        assert [gpu.free for gpu in probe(None, own=[B])] == [True, True, True]
    finally:
        lease.give_back()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A, B, C]),
        ("", []),
        ("0,1,2", [A, B, C]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,7,1", [A]),
        ("-1,0", []),
        ("0,-1,1", [A]),
        ("0,x,1", [A]),
        ("NoDevFiles", []),
        ("1gpu", [B]),
        ("0,0", []),
        (C, [C]),
        (f"{C},{A}", [C, A]),
        ("GPU-bb", [C]),
        ("GPU-aa", []),
        (f"{C},GPU-zz,{A}", [C]),
        (f"{C},0", [C]),
        (f"0,{C}", [A]),
        (f"{A},{A}", []),
    ],
)
def test_an_outer_cuda_visible_devices_is_respected(
    driver: Driver, visible: str | None, expected: list[str]
) -> None:
    """Numbers, UUIDs and their unique prefixes, in the order of the list, up to the first wrong."""
    driver(*THREE)

    found = probe(visible)

    assert [gpu.uuid for gpu in found] == expected
    assert [gpu.index for gpu in found] == list(range(len(expected)))


def test_a_list_that_leaves_nothing_says_so(driver: Driver) -> None:
    """A machine with GPUs of which none may be used isn't a machine without GPUs."""
    driver(*THREE)

    assert probe_node("")["error"] == "CUDA_VISIBLE_DEVICES= leaves none of 3"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A, MIG_1, MIG_2]),
        ("1,0", [MIG_1, A]),
        (B, [MIG_1]),
        (MIG_2, [MIG_2]),
        (f"{MIG_2},{MIG_1}", [MIG_2, MIG_1]),
        ("MIG-cc2", [MIG_2]),
        ("MIG-cc", []),
        (f"MIG-{B}/2/0", [MIG_2]),
        (f"MIG-{B}/3/0", []),
    ],
)
def test_mig_instances_are_the_units_of_a_gpu_in_mig_mode(
    driver: Driver, visible: str | None, expected: list[str]
) -> None:
    """By UUID, by the older name, and the first of them where the whole GPU is named."""
    driver(*MIXED)

    assert uuids(visible) == expected


def test_an_instance_knows_its_gpu(driver: Driver) -> None:
    """A MIG instance carries the UUID of the GPU it is part of, and that one's number."""
    driver(*MIXED)

    instance = probe(None)[2]

    assert (instance.parent, instance.index, instance.mig_name) == (B, 1, f"MIG-{B}/2/0")


def test_mig_mode_without_an_instance_is_a_problem_of_that_gpu(driver: Driver) -> None:
    """There is nothing to run on, and it is said why."""
    driver({"uuid": A}, {"uuid": B, "mig": []})

    gpu = probe(None)[1]

    assert (gpu.usable, gpu.problem) == (False, "MIG mode is on, but it has no MIG instance")


@pytest.mark.parametrize(
    ("call", "code", "usable", "problem"),
    [
        ("nvmlDeviceGetHandleByIndex", 4, False, "the driver says: Insufficient Permissions"),
        ("nvmlDeviceGetUUID", 15, False, "the driver says: GPU is lost"),
        ("nvmlDeviceGetMemoryInfo_v2", 15, False, "the driver says: GPU is lost"),
        ("nvmlDeviceGetName", 999, True, "the driver says: Unknown Error"),
        ("nvmlDeviceGetMigMode", 999, True, "the driver says: Unknown Error"),
        (
            "nvmlDeviceGetComputeRunningProcesses",
            4,
            True,
            "the driver says: Insufficient Permissions",
        ),
        ("nvmlDeviceGetMigMode", 3, True, ""),
        ("nvmlDeviceGetMemoryInfo_v2", 13, True, ""),
        ("nvmlDeviceGetGraphicsRunningProcesses", 3, True, ""),
        ("nvmlDeviceGetComputeRunningProcesses", "mismatch", True, ""),
    ],
)
def test_what_the_driver_refuses_is_a_problem_of_that_gpu_alone(
    driver: Driver, call: str, code: int | str, usable: bool, problem: str
) -> None:
    """One GPU that is odd, lost or forbidden neither ends the probe nor counts as free."""
    errors = {call: code}
    if code == 15:
        errors["nvmlDeviceGetMemoryInfo"] = code
    driver({"uuid": A, "errors": errors}, {"uuid": B})

    odd, good = probe(None)

    assert (odd.usable, odd.problem, odd.free) == (usable, problem, not problem)
    assert good.free


def test_an_older_driver_is_asked_in_an_older_way(driver: Driver) -> None:
    """Where the newest call for processes doesn't exist, the one before sees them."""
    driver(
        {
            "uuid": A,
            "compute_pids": [1],
            "errors": {"nvmlDeviceGetComputeRunningProcesses": "mismatch"},
        }
    )

    assert probe(None)[0].users == "used by pid 1 (root)"


def test_a_gpu_that_prohibits_compute_cannot_be_used(driver: Driver) -> None:
    """Compute mode Prohibited."""
    driver({"uuid": A, "compute_mode": 2})

    (gpu,) = probe(None)

    assert (gpu.usable, gpu.problem) == (False, "its compute mode is Prohibited")


@pytest.mark.parametrize(
    ("code", "error"),
    [(18, "NVML: RM has detected an NVML/RM version mismatch."), (9, ""), (12, "")],
)
def test_a_driver_that_does_not_answer(driver: Driver, code: int, error: str) -> None:
    """A broken driver is told with NVIDIA's words; one that isn't loaded is no driver."""
    driver(init_error=code)

    assert probe_node(None) == {"gpus": [], "visible": None, "error": error}


def test_every_process_sees_the_stand_in(driver: Driver) -> None:
    """The stand-in also works in other processes, where its source is shipped."""
    driver(*THREE)
    code = (
        "from launcher.agent.node.gpu_probe import probe_node; "
        "print(len(probe_node('0,2')['gpus']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert done.stdout == "2\n"


NUMBERS = st.lists(st.integers(-1, 5).map(str) | st.sampled_from(["", "x", "2y", "+1", " 0"]))


@given(NUMBERS)
def test_numbers_are_read_as_torch_reads_them(entries: list[str]) -> None:
    """torch, which runs in the ranks, makes the same devices of the same CUDA_VISIBLE_DEVICES."""
    cuda = pytest.importorskip("torch.cuda")
    visible = ",".join(entries)
    boards = [
        [{"uuid": f"GPU-{i}", "parent": "", "mig_name": "", "machine_index": i}] for i in range(4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", visible)
        numbers = cuda._parse_visible_devices()
    wanted = list(itertools.takewhile(lambda number: number < len(boards), numbers))

    assert [unit["machine_index"] for unit in visible_units(visible, boards)] == wanted
