"""Which GPUs a run takes on several nodes, also on nodes that are parts of one machine."""

from __future__ import annotations

import pytest

from launcher.controller.placing.gpu_choice import Choice, NodeGpus, choose_all, node_gpus
from launcher.controller.placing.gpus import Gpu, to_json
from launcher.core.gpu_spec import parse
from tests.launcher.support.machines import FOUR, busy, gpu, on


def nodes(*machines: tuple[Gpu, ...]) -> list[NodeGpus]:
    return [on(gpus, f"h{number}") for number, gpus in enumerate(machines, 1)]


def test_each_node_chooses_for_itself() -> None:
    """A count is per node; GPUs that are busy on one change nothing on the others."""
    choices = choose_all(parse("2"), nodes((gpu(0), gpu(1)), (busy(0), gpu(1), gpu(2))))

    assert [choice.gpus for choice in choices] == [("GPU-0", "GPU-1"), ("GPU-1", "GPU-2")]


def test_lists_for_each_node() -> None:
    """h1 and h2 get their own."""
    choices = choose_all(parse("h1:1,;h2:0,1"), nodes((gpu(0), gpu(1)), (gpu(0), gpu(1))))

    assert [choice.gpus for choice in choices] == [("GPU-1",), ("GPU-0", "GPU-1")]


def test_lists_must_name_the_nodes_of_the_run() -> None:
    """A node that isn't named, or a name that isn't a node, is a mistake."""
    forgotten = choose_all(parse("h1:1,"), nodes(FOUR, FOUR))
    strange = choose_all(parse("h1:1,;h2:1,;h[3-4]:0,"), nodes(FOUR, FOUR))

    assert [choice.problem for choice in forgotten] == [
        None,
        "--gpus says nothing of h2: add ;h2:LIST, or :0 for none",
    ]
    assert strange[0].problem == "--gpus names h[3-4], but the nodes are h[1-2]"


def test_no_node_ends_on_the_cpu_in_silence() -> None:
    """Without --gpus, a node without a GPU among others that have some is a problem."""
    mixed = choose_all(parse(None), nodes((gpu(0),), ()))
    none = choose_all(parse(None), nodes((), ()))

    assert mixed[1].problem == (
        "h2 has no GPU, other nodes have: leave it out, or use the CPU of all by --gpus 0"
    )
    assert none == (Choice(), Choice())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "/"),
        ("1", "0/2"),
        ("2", "0 1/2 3"),
        (None, "0 2/3"),
        ("free", "0 2/3"),
        ("free:1", "0/2"),
        ("all", "0 1/2 3"),
        ("3,0", "3/0"),
        ("h1:3,;h2:0,1", "3/0 1"),
    ],
)
def test_one_machines_gpus_are_divided_among_its_nodes(text: str | None, expected: str) -> None:
    """Two nodes of one machine never get the same GPU, and free ones go first here, too."""
    choices = choose_all(parse(text), nodes(FOUR, FOUR), one_machine=True)

    assert [choice.problem for choice in choices] == [None, None]
    assert [choice.gpus for choice in choices] == [
        tuple(f"GPU-{index}" for index in part.split()) for part in expected.split("/")
    ]


@pytest.mark.parametrize(
    ("text", "gpus", "problem"),
    [
        (
            "3",
            FOUR,
            "asked for 3 GPUs for each of 2 nodes, h1 has 4: 3 free, 1 used by pid 1234 (alice)",
        ),
        ("0,1,2", FOUR, "3 GPUs can't be divided evenly among 2 nodes"),
        (
            None,
            (gpu(0),),
            "2 nodes can't share GPU 0 of this machine: --nodes 1, or --gpus 0 to use the CPU",
        ),
        ("h1:0,1;h2:1,2", FOUR, "h1: a GPU is given to two nodes of this machine"),
    ],
)
def test_a_machine_that_cannot_be_divided_is_a_problem(
    text: str | None, gpus: tuple[Gpu, ...], problem: str
) -> None:
    """Fewer GPUs than nodes, uneven lists, and lists that overlap."""
    choices = choose_all(parse(text), nodes(gpus, gpus), one_machine=True)

    assert choices[0].problem == problem
    assert choices[1].problem is not None


def test_what_a_node_said_is_read() -> None:
    """The JSON of a probe becomes a node's GPUs."""
    said = {"gpus": to_json(FOUR), "visible": None, "error": "why"}

    assert node_gpus("h2", said, ("0",)) == NodeGpus("h2", FOUR, ("0",), "why")
