"""Which hooks are called on which rank, and in which order: real processes."""

from __future__ import annotations

from tests.engine.loops.test_hooks import FIT

PROGRAM = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from tests.engine.loops import test_hooks as hooks
from engine import LightningDataModule

small, calls, seen = hooks.loader, [], []
hooks.loader = lambda count: small(2 * count)  # each rank gets half of it
done = Path(sys.argv[1]).with_name("prepared")


class Data(LightningDataModule):
    def prepare_data(self):
        seen.append(["prepare_data of the data", self.trainer.global_rank])

    def setup(self, stage):
        seen.append(["setup of the data", self.trainer.global_rank, stage, done.exists()])

    def val_dataloader(self):
        return small(8)

    def teardown(self, stage):
        seen.append(["teardown of the data", self.trainer.global_rank, stage])


module, callback = hooks.recorded(calls)


class Module(type(module)):
    def prepare_data(self):
        super().prepare_data()
        done.touch()
        seen.append(["prepare_data", self.global_rank])

    def setup(self, stage):
        super().setup(stage)
        has_trainer = (self.trainer.global_rank, self.trainer.world_size)
        seen.append(["setup", self.global_rank, stage, done.exists(), *has_trainer])

    def teardown(self, stage):
        super().teardown(stage)
        seen.append(["teardown", self.global_rank, stage])


trainer = hooks.quiet("run", callbacks=callback, num_sanity_val_steps=1)
trainer.fit(Module(), datamodule=Data())
json.dump([calls, seen], open(sys.argv[1], "w"))
"""


def test_each_rank_has_all_hooks_and_the_first_prepares_the_data(run_ranks):
    """S047-S065, S048, S049: on two ranks each calls the list of 1.5, entry by entry, but for
    `prepare_data`, which global rank zero alone calls, and is done with before anybody's `setup`;
    `setup` and `teardown` are called on every device."""
    (zero, seen_by_zero), (one, seen_by_one) = run_ranks(PROGRAM)
    assert zero == FIT
    assert one == [name for name in FIT if name != "prepare_data"]

    prepared = [["prepare_data of the data", 0], ["prepare_data", 0]]
    for rank, seen in enumerate((seen_by_zero, seen_by_one)):
        assert seen == [
            *(prepared if rank == 0 else []),
            ["setup of the data", rank, "fit", True],
            ["setup", rank, "fit", True, rank, 2],
            ["teardown", rank, "fit"],
            ["teardown of the data", rank, "fit"],
        ]
