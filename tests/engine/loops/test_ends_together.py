"""Ranks that would end an epoch each by itself: real processes."""

from __future__ import annotations

import pytest

PROGRAM = """
import json, os, sys
import torch
from torch.utils.data import DataLoader, IterableDataset
from engine.callbacks import Callback
from engine.runtime.coordination import epoch_end
from tests.engine.support.toy import Toy, loader, quiet, samples

epoch_end.PATIENCE_S = float(os.environ["PATIENCE_S"])
rank = int(os.environ["RANK"])

class Stream(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter([samples()[i] for i in range(self.count)])

class Stops(Callback):
    def __init__(self, kind):
        self.kind = kind

    def on_train_batch_end(self, trainer, *_):
        ranks = {"all stop": (0, 1), "one stops": (1,)}.get(self.kind, ())
        trainer.should_stop = trainer.should_stop or (trainer.global_step == 2 and rank in ranks)

    def on_validation_end(self, trainer, *_):
        if self.kind == "one stops in a validation" and rank == 1 and trainer.global_step == 2:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, *_):
        if self.kind == "one stops at the end" and rank == 1 and trainer.current_epoch == 1:
            trainer.should_stop = True

def fit(kind):
    fewer = 16 if rank == 1 else 8
    data = {
        "even streams": DataLoader(Stream(16), 4),
        "uneven streams": DataLoader(Stream(fewer), 4),
    }.get(kind)
    options = {"use_distributed_sampler": False} if data is not None else {"val_check_interval": 2}
    trainer = quiet(
        ".", strategy="ddp", devices=2, max_epochs=3, callbacks=Stops(kind), **options
    )
    try:
        trainer.fit(Toy(), loader(32) if data is None else data, loader())
    except RuntimeError as error:
        return str(error)
    return [trainer.global_step, trainer.current_epoch]

found = {kind: fit(kind) for kind in os.environ["KINDS"].split(", ")}
json.dump(found, open(sys.argv[1], "w"))
if any(isinstance(one, str) for one in found.values()):
    os._exit(0)  # the other rank is waiting for us in a step
"""


def test_they_end_together(run_ranks):
    """Streams of unknown length that are equally long; `should_stop` on all ranks in one step; or
    on one alone where an epoch ends: all stop there."""
    expected = {"even streams": [12, 3], "all stop": [2, 1], "one stops at the end": [8, 2]}
    found = run_ranks(PROGRAM, env={"KINDS": ", ".join(expected), "PATIENCE_S": "60"})
    assert found == [expected] * 2


@pytest.mark.parametrize(
    ("kind", "rank", "words"),
    [
        ("uneven streams", 0, "its loader has no more batches"),
        ("one stops", 1, "should_stop is set"),
        ("one stops in a validation", 1, "should_stop is set"),
    ],
)
def test_who_ends_alone_is_named(run_ranks, kind, rank, words):
    """A rank with fewer batches, or with `should_stop` in the middle of an epoch, does not leave
    the others waiting for ever: the error says which rank, where and what to write."""
    error = run_ranks(PROGRAM, env={"KINDS": kind, "PATIENCE_S": "2"})[rank][kind]
    assert error.startswith(f"rank {rank} ends epoch 0 after step 2 because {words}")
    assert f"ranks [{1 - rank}] go on" in error and "limit_train_batches" in error
