"""What is asked of Ray: how many bundles, how large, and where."""

import pytest

from launcher.clusters.ray.bundles import Ask, Bundle, RayNode, choose, description, shortage


def node(
    number: int, gpus: float = 0, free_gpus: float | None = None, cpus: float = 4, **more: float
) -> RayNode:
    return RayNode(
        id=f"id{number}",
        name=f"host{number}",
        address=f"10.0.0.{number}",
        cpus=cpus,
        gpus=gpus,
        free_cpus=more.get("free_cpus", cpus),
        free_gpus=gpus if free_gpus is None else free_gpus,
    )


EIGHTS = [node(1, 8), node(2, 8), node(3, 8)]
HEAD = node(9, cpus=0)  # as clusters are often made: nothing is to run on the head
BUSY = [node(1, 8, 0), node(2, 8, 3), node(3, 8, 8)]


def ask(gpus: str | int, procs: int | None = None, nodes: tuple[int, int] | None = None) -> Ask:
    least, most = nodes or (None, None)
    if isinstance(gpus, int):
        return Ask("count", gpus, procs, least, most)
    return Ask(gpus, None, procs, least, most)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "nodes", "bundles"),
    [
        # a number of nodes with a number of GPUs: Ray chooses where, and may have to wait
        (ask(2, nodes=(2, 2)), EIGHTS, [Bundle(2, 2)] * 2),
        (ask(2, procs=1, nodes=(2, 2)), EIGHTS, [Bundle(1, 2)] * 2),
        (ask(2, nodes=(5, 5)), EIGHTS, [Bundle(2, 2)] * 5),
        (ask(2, nodes=(2, 2)), [], [Bundle(2, 2)] * 2),
        # fewer CPUs than ranks: whoever asks for GPUs gets them nevertheless
        (ask(8, nodes=(2, 2)), EIGHTS, [Bundle(4, 8)] * 2),
        # ... but who doesn't needs a CPU a rank
        (ask(0, procs=8, nodes=(2, 2)), EIGHTS, [Bundle(8, 0)] * 2),
        (ask(0, nodes=(1, 1)), EIGHTS, [Bundle(1, 0)]),
        # no number of nodes: all that could have it
        (ask(2), [*EIGHTS, HEAD], [Bundle(2, 2)] * 3),
        (ask(0, procs=2), [*EIGHTS, HEAD], [Bundle(2, 0)] * 3),
        (ask(9), EIGHTS, [Bundle(4 + 5, 9)]),
        # a range: as many as have room now, and no fewer than the least
        (ask(4, nodes=(1, 3)), BUSY, [Bundle(4, 4)]),
        (ask(3, nodes=(1, 3)), BUSY, [Bundle(3, 3)] * 2),
        (ask(3, nodes=(1, 1)), BUSY, [Bundle(3, 3)]),
        (ask(8, nodes=(2, 3)), BUSY, [Bundle(4, 8)] * 2),
        # no word about GPUs: the free ones, or the CPU where there are none at all
        (ask("auto"), BUSY, [Bundle(4, 8, "10.0.0.3"), Bundle(3, 3, "10.0.0.2")]),
        (ask("auto", procs=2), BUSY, [Bundle(2, 8, "10.0.0.3"), Bundle(2, 3, "10.0.0.2")]),
        (ask("auto"), [node(1), node(2)], [Bundle(1, 0)] * 2),
        (ask("auto", nodes=(1, 1)), [HEAD, *BUSY], [Bundle(4, 8, "10.0.0.3")]),
        (ask("auto", nodes=(3, 3)), BUSY, []),
        (ask("free", nodes=(1, 9)), BUSY, [Bundle(4, 8, "10.0.0.3"), Bundle(3, 3, "10.0.0.2")]),
        (ask("free"), [node(1)], []),
        # all of them: of every node, or of as many nodes as asked for
        (ask("all"), BUSY, []),
        (ask("all", nodes=(1, 1)), BUSY, [Bundle(4, 8, "10.0.0.3")]),
        (ask("all"), [node(1, 4), HEAD], [Bundle(4, 4, "10.0.0.1")]),
        # CPUs that somebody else has count, too
        (ask("all"), [node(1, 2, free_cpus=1)], []),
    ],
)  # fmt: skip
def test_the_bundles(wanted: Ask, nodes: list[RayNode], bundles: list[Bundle]) -> None:
    """As many and as large as asked for; those that depend on a node are for that node."""
    assert list(choose(wanted, nodes)) == bundles


def test_a_bundle_in_rays_words() -> None:
    """Amounts of nothing are left out; a node is named by the resource that it alone has."""
    assert Bundle(2, 8).resources == {"CPU": 2, "GPU": 8}
    assert Bundle(1, 0).resources == {"CPU": 1}
    assert Bundle(1, 1, "10.0.0.1").resources == {"CPU": 1, "GPU": 1, "node:10.0.0.1": 0.001}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (ask(4, nodes=(2, 2)), "2 nodes with 4 GPUs and 4 CPUs each, there is room on 1 of 3"),
        (ask(8, procs=1, nodes=(1, 1)), "1 node with 8 GPUs and 1 CPU, there is room on 1 of 3"),
        (ask(0, nodes=(4, 8)), "4 to 8 nodes with 1 CPU each, there is room on 3 of 3"),
        (ask(9, procs=1), "nodes with 9 GPUs and 1 CPU each, there is room on 0 of 3"),
        (ask("auto", nodes=(3, 3)), "3 nodes with a free GPU, there is room on 2 of 3"),
        (ask("all"), "nodes with all GPUs free, there is room on 1 of 3"),
    ],
)
def test_what_is_missing_in_words(wanted: Ask, words: str) -> None:
    """What was asked for, and how many nodes have it."""
    assert shortage(wanted, BUSY) == f"asked for {words}"


def test_what_a_node_has_in_words() -> None:
    """In all, and what of that nobody has claimed."""
    assert description(BUSY[1]) == "8 GPUs (3 free), 4 CPUs (all free)"
    assert description(node(1, cpus=1, free_cpus=0.5)) == "1 CPU (0.5 free)"
    assert description(HEAD) == "no GPU and no CPU for jobs"
