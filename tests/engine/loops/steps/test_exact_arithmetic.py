"""Whatever is combined with whatever: a fit is the plain loop that one would write by hand.

In 64 bits and, as gradients are added up in the same order, to the last bit.
"""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from tests.engine.support.exact import batches, by_hand, cases, fitted, serve

pytestmark = [
    pytest.mark.filterwarnings("ignore:training_step returned None"),
    # An epoch may end before an optimizer has had its first turn.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
]

DEADLINE_S = 120
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@given(case=cases())
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
def test_any_combination_is_the_plain_loop(case):
    """S044, S145, S163, S020, S040: accumulation by epoch, clipping by norm or value, one optimizer
    or several with frequencies, schedulers by step and epoch, skipped steps, truncated
    back-propagation, `optimizer_step` of the module: the same weights, learning rates and steps, to
    the last bit."""
    found, *counts = fitted(case, batches())
    expected, *expected_counts = by_hand(case)
    assert torch.equal(found, expected)
    assert counts == expected_counts


@pytest.fixture(scope="module")
def two_ranks(free_port):
    """Asks two processes, which are each other's ranks, what comes of a case."""
    context, port = multiprocessing.get_context("spawn"), free_port()
    pipes = [context.Pipe() for _ in range(2)]
    processes = [
        context.Process(target=serve, args=(rank, port, there), daemon=True)
        for rank, (_, there) in enumerate(pipes)
    ]

    def ask(case):
        for here, _ in pipes:
            here.send(case)
        answers = []
        for here, _ in pipes:
            assert here.poll(DEADLINE_S), "no answer from a rank"
            answers.append(here.recv())
        failed = [answer for answer in answers if isinstance(answer, str)]
        assert not failed, failed[0]
        return answers

    try:
        for process in processes:
            process.start()
        yield ask
        for here, _ in pipes:
            here.send(None)
        for process in processes:
            process.join(DEADLINE_S)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
            process.join()


@given(case=cases())
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
def test_two_ranks_are_the_plain_loop(two_ranks, case):
    """S020, S163: two ranks with half of each batch, of which one alone may skip, learn what the
    plain loop learns from all of it, to 1e-12, and the very same as each other."""
    zero, one = two_ranks(case)
    assert zero == one
    found, *counts = zero
    expected, *expected_counts = by_hand(case, ranks=2)
    assert found == pytest.approx(expected.tolist(), abs=1e-12)
    assert counts == expected_counts
