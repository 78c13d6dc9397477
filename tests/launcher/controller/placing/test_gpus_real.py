"""Real GPUs, where the machine has some: what the launcher sees is what torch sees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.agent.node.gpu_lease import Lease
from launcher.controller.placing.gpus import Gpu, probe

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, ...]:
    """The machine's GPUs, with a folder for leases that no other run uses."""
    monkeypatch.setenv("PLAUNCH_LEASE_DIR", str(tmp_path / "leases"))
    found = probe(None)
    if not found or not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    return found


def count_by_torch(visible: str) -> int:
    code = "import torch; print(torch.cuda.device_count())"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def test_gpus_are_seen_as_torch_sees_them() -> None:
    """As many as torch counts, with their names, UUIDs and memory."""
    import torch

    seen = probe(os.environ.get("CUDA_VISIBLE_DEVICES"))

    assert len(seen) == torch.cuda.device_count()
    for gpu in seen:
        properties = torch.cuda.get_device_properties(gpu.index)
        assert gpu.name == properties.name
        assert gpu.uuid.removeprefix("GPU-") == str(properties.uuid)
        assert gpu.memory_total >= properties.total_memory


def test_what_is_chosen_is_what_torch_gets(gpus: tuple[Gpu, ...]) -> None:
    """A UUID in CUDA_VISIBLE_DEVICES is one GPU; lists are read as torch reads them."""
    for visible in (gpus[0].uuid, gpus[0].uuid[:12], "0", "0,99", "-1", "", "0,0", "x"):
        assert len(probe(visible)) == count_by_torch(visible), visible


def test_a_gpu_is_free_until_a_process_uses_it(gpus: tuple[Gpu, ...]) -> None:
    """A process that has computed on an idle GPU, and now waits, makes it busy."""
    idle = [gpu for gpu in gpus if gpu.free]
    if not idle:
        pytest.skip("needs an idle GPU")
    with using(idle[0]):
        (during,) = probe(idle[0].uuid)

    assert not during.free


def test_a_leased_gpu_is_not_free(gpus: tuple[Gpu, ...]) -> None:
    """Leases hold for real UUIDs."""
    lease = Lease("job")
    lease.take([gpus[0].uuid])
    try:
        assert probe(gpus[0].uuid)[0].leased.startswith("run job of ")
    finally:
        lease.give_back()


@contextmanager
def using(gpu: Gpu) -> Iterator[None]:
    code = "import torch; torch.ones(1, device='cuda'); print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu.uuid},
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.read(2) == b"up"
            yield
        finally:
            process.kill()
