"""Which GPUs a run takes on one node, and what people are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.controller.placing.gpu_choice import Choice, NodeGpus, choose
from launcher.controller.placing.gpus import Gpu
from launcher.core.gpu_spec import parse
from tests.launcher.support.machines import (
    FOUR,
    GIB,
    SPLIT,
    broken,
    busy,
    exclusive,
    gpu,
    leased,
    on,
)


def chosen(text: str | None, gpus: tuple[Gpu, ...], limit: tuple[str, ...] | None = None) -> Choice:
    return choose(parse(text), on(gpus, limit=limit))


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        (None, FOUR, "0 2 3"),
        (None, (), ""),
        ("0", FOUR, ""),
        ("0", (), ""),
        ("2", FOUR, "0 2"),
        ("3", FOUR, "0 2 3"),
        ("4", FOUR, "0 1 2 3"),
        ("2", (gpu(0), busy(1, 9 * GIB), busy(2, GIB), leased(3)), "0 2"),
        ("2", (busy(0), gpu(1), leased(2), exclusive(3), broken(4)), "0 1"),
        ("free", FOUR, "0 2 3"),
        ("free:2", FOUR, "0 2"),
        ("all", FOUR, "0 1 2 3"),
        ("3,", FOUR, "3"),
        ("3,1", FOUR, "3 1"),
        ("GPU-2", FOUR, "2"),
        ("0,", (leased(0),), "0"),
    ],
)
def test_what_is_chosen(text: str | None, gpus: tuple[Gpu, ...], expected: str) -> None:
    """Free ones first; then, for a count, the least busy ones, but never another run's."""
    choice = chosen(text, gpus)

    assert choice.problem is None
    assert choice.gpus == tuple(f"GPU-{index}" for index in expected.split())


@pytest.mark.parametrize(
    ("text", "gpus", "note"),
    [
        ("2", FOUR, None),
        ("free", (gpu(0), gpu(1)), None),
        (None, FOUR, "h2: left out: GPU 1 (used by pid 1234 (alice))"),
        ("4", FOUR, "h2: taken although busy: GPU 1 (used by pid 1234 (alice))"),
        ("1,0", FOUR, "h2: taken although busy: GPU 1 (used by pid 1234 (alice))"),
        ("0,", (leased(0),), "h2: taken although busy: GPU 0 (leased by run j7 of bob, pid 9)"),
        (
            None,
            (gpu(0), broken(1), leased(2)),
            "h2: left out: GPU 1 (the driver says: GPU is lost), "
            "GPU 2 (leased by run j7 of bob, pid 9)",
        ),
        (
            "1,",
            (gpu(0), gpu(1, machine_index=5)),
            "h2: numbers count what CUDA_VISIBLE_DEVICES leaves: 1 is GPU 5 of the machine",
        ),
        (
            "all",
            SPLIT,
            "h2: a process sees one MIG instance only, the first of its list",
        ),
    ],
)
def test_one_line_says_what_is_unusual(
    text: str | None, gpus: tuple[Gpu, ...], note: str | None
) -> None:
    """Busy GPUs that are taken or left out, numbers that moved, MIG: one line; else silence."""
    choice = chosen(text, gpus)

    assert choice.problem is None
    assert choice.notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("text", "gpus", "problem"),
    [
        ("1", (), "asked for 1 GPU, h2 has none: --gpus 0 uses the CPU"),
        ("all", (), "asked for all GPUs, h2 has none: --gpus 0 uses the CPU"),
        ("8", FOUR, "asked for 8 GPUs, h2 has 4: 3 free, 1 used by pid 1234 (alice)"),
        (
            "2",
            (gpu(0), leased(1), exclusive(2)),
            "asked for 2 GPUs, h2 has 3: 1 free, 1 leased by run j7 of bob, pid 9, "
            "1 used by pid 1234 (alice)",
        ),
        (
            "free:4",
            FOUR,
            "asked for 4 free GPUs, h2 has 4: 3 free, 1 used by pid 1234 (alice); ask for fewer",
        ),
        (
            "free",
            (busy(0), busy(1)),
            "asked for the free GPUs, h2 has 2: 0 free, 2 used by pid 1234 (alice); "
            "ask for busy ones by number, as in --gpus 0,1",
        ),
        (
            None,
            (busy(0),),
            "asked for a free GPU, h2 has 1: 0 free, 1 used by pid 1234 (alice); "
            "ask for busy ones by number, as in --gpus 0,1",
        ),
        ("0,4", FOUR, "asked for GPU 4, h2 has GPUs 0-3"),
        ("GPU-x", FOUR, "asked for GPU GPU-x, h2 has GPUs 0-3"),
        (
            "GPU-",
            FOUR,
            "GPU GPU- of h2 is not the only one, name one of them: GPU-0, GPU-1, GPU-2, GPU-3",
        ),
        (
            "1,",
            SPLIT,
            "GPU 1 of h2 is split into MIG instances, name one of them: MIG-a, MIG-b",
        ),
        ("0,GPU-0", FOUR, "GPU GPU-0 of h2 is asked for twice"),
        ("0,", (broken(0),), "h2: GPU 0 can't be used: the driver says: GPU is lost"),
        (
            "0,",
            (exclusive(0),),
            "h2: GPU 0 can't be used: it is in exclusive mode, and used by pid 1234 (alice)",
        ),
        (
            "all",
            (gpu(0), broken(1)),
            "h2: GPU 1 can't be used: the driver says: GPU is lost",
        ),
    ],
)
def test_what_cannot_be_met_is_one_line_with_the_numbers(
    text: str | None, gpus: tuple[Gpu, ...], problem: str
) -> None:
    """More GPUs than there are, unknown, broken or ambiguous ones: said with what there is."""
    assert chosen(text, gpus).problem == problem


@pytest.mark.parametrize("name", ["MIG-b", "MIG-GPU-1/b"])
def test_a_mig_instance_is_chosen_by_either_name(name: str) -> None:
    """Its UUID, or the older name made of its GPU's."""
    assert chosen(name, SPLIT).gpus == ("MIG-b",)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        (None, ("0", "1"), ("GPU-0",)),
        ("1", ("2", "GPU-3"), ("GPU-2",)),
        ("all", ("3",), ("GPU-3",)),
        ("2,", ("2",), ("GPU-2",)),
        (None, (), ()),
        ("0", (), ()),
    ],
)
def test_the_cluster_file_limits_the_choice(
    text: str | None, limit: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """What the file doesn't allow on a node isn't taken; numbers keep their meaning."""
    assert chosen(text, FOUR, limit).gpus == expected


@pytest.mark.parametrize(
    ("text", "limit", "problem"),
    [
        ("3", ("0", "2"), "asked for 3 GPUs, h2 has 2: 2 free"),
        ("1,", ("0", "2"), "asked for GPU 1, the cluster file allows h2 only GPUs 0,2"),
        (None, ("7",), "the cluster file allows GPU 7 of h2, which has GPUs 0-3"),
    ],
)
def test_a_limit_that_is_in_the_way_is_named(
    text: str | None, limit: tuple[str, ...], problem: str
) -> None:
    """Neither exceeded, nor ignored where it names what isn't there."""
    assert chosen(text, FOUR, limit).problem == problem


def test_a_driver_that_does_not_answer_is_said() -> None:
    """A machine whose driver is broken isn't taken for one without GPUs in silence."""
    node = NodeGpus("h2", (), error="NVML: Driver/library version mismatch")

    assert choose(parse(None), node).notes == (
        "h2: no GPU is used (NVML: Driver/library version mismatch)",
    )
    assert choose(parse("1"), node).problem == (
        "asked for 1 GPU, h2 has none (NVML: Driver/library version mismatch): "
        "--gpus 0 uses the CPU"
    )


def test_hidden_gpus_are_hidden_without_a_word() -> None:
    """CUDA_VISIBLE_DEVICES= is how people ask for the CPU."""
    node = NodeGpus("h2", (), error="CUDA_VISIBLE_DEVICES= leaves none of 4")

    assert choose(parse(None), node) == Choice()


@pytest.mark.parametrize(
    ("text", "must"), [(None, True), ("2", True), ("free", True), ("all", False), ("0,", False)]
)
def test_who_names_a_gpu_gets_it_without_a_lease(text: str | None, must: bool) -> None:
    """A refused lease means choosing anew, unless the user named the GPU."""
    assert chosen(text, (gpu(0), gpu(1))).must_lease == must


STATES = st.sampled_from([gpu, busy, leased, broken, exclusive])
MACHINES = st.lists(STATES, max_size=6).map(
    lambda states: tuple(state(index) for index, state in enumerate(states))
)


@given(MACHINES, st.sampled_from([None, "0", "1", "2", "4", "all", "free", "free:2", "0,", "1,0"]))
def test_a_choice_keeps_its_promises(gpus: tuple[Gpu, ...], text: str | None) -> None:
    """Never a GPU twice, never a blocked one, never another run's unless it was named."""
    request, choice = parse(text), chosen(text, gpus)
    taken = [g for g in gpus if g.uuid in choice.gpus]

    assert len(set(choice.gpus)) == len(choice.gpus) == len(taken)
    assert choice.problem is None or choice.gpus == ()
    assert not any(g.blocked for g in taken)
    if not request.explicit:
        assert not any(g.leased for g in taken)
    if request.count is not None and choice.problem is None:
        assert len(taken) == request.count
    if request.kind in ("free", "auto"):
        assert all(g.free for g in taken)
