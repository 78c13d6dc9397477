"""A checkpoint that a program saves on one rank only, while the others train on."""

from __future__ import annotations

PROGRAM = """
import json, os, sys, warnings
from engine import Callback
from engine.runtime.coordination import barrier
from tests.engine.support.toy import Toy, loader, quiet

barrier.PATIENCE_S = 2.0
warnings.simplefilter("ignore")

class Saves(Callback):
    def on_train_epoch_end(self, trainer, module):
        epoch, rank = trainer.current_epoch, trainer.global_rank
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if rank == epoch or epoch == 2:  # zero alone, one alone, both
                trainer.save_checkpoint(f"{epoch}.ckpt")
        if said:
            warned[epoch] = str(said[0].message)

warned = {}
model = Toy()
trainer = quiet(".", max_epochs=3, callbacks=[Saves()])
trainer.fit(model, loader())
if trainer.is_global_zero:  # as scripts end: the other rank goes
    trainer.save_checkpoint("end.ckpt")
resumed = quiet(".", max_epochs=3)
resumed.fit(Toy(), loader(), ckpt_path="0.ckpt")
files = sorted(name for name in os.listdir() if name.endswith(".ckpt"))
json.dump([warned, trainer.global_step, resumed.global_step, files], open(sys.argv[1], "w"))
"""


def test_nobody_waits_for_ever(run_ranks, tmp_path):
    """Saved on rank zero alone there is a file to go on from, and a warning with what to do; on
    another rank alone there is none; the training goes on in both cases."""
    (zero, *ends), (one, *others) = run_ranks(PROGRAM, 2)
    steps = ends[0]
    assert ends[:2] == others[:2] == [steps, steps]
    assert steps
    assert ends[2] == others[2] == ["0.ckpt", "2.ckpt", "end.ckpt"]
    assert list(zero) == ["0"]
    assert "was not called on all ranks" in zero["0"]
    assert "Call it on every rank" in zero["0"]
    assert list(one) == ["1"]
    assert "nothing was written" in one["1"]


SHARDED = """
import json, sys, warnings
from engine.runtime.coordination import barrier
from tests.engine.support.toy import Toy, loader, quiet

barrier.PATIENCE_S = 1.0
warnings.simplefilter("ignore")
trainer = quiet(".", strategy="fsdp")
trainer.fit(Toy(), loader())
said = ""
try:
    if trainer.is_global_zero:
        trainer.save_checkpoint("alone.ckpt")
except Exception as error:
    said = str(error)
trainer.strategy.barrier()
trainer.save_checkpoint("both.ckpt")
json.dump(said, open(sys.argv[1], "w"))
"""


def test_a_part_of_a_model_is_no_checkpoint(run_ranks, tmp_path):
    """With a model that is divided among the ranks, one that saves alone gets an error."""
    zero, one = run_ranks(SHARDED, 2)
    assert "can't be saved by one" in zero
    assert not one
    assert not (tmp_path / "alone.ckpt").exists()
