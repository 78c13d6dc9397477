"""Overrides that call what they override."""

from __future__ import annotations

import pytest

from engine import LightningModule
from tests.engine.support.toy import Toy, loader, quiet

ENDS = [f"{verb}_{end}" for verb in ("training", "validation", "test") for end in ("step_end",)]
EPOCHS = ["training_epoch_end", "validation_epoch_end", "test_epoch_end"]
STAGES = [f"on_{s}_{e}" for s in ("validation", "test", "predict") for e in ("start", "end")]
MODES = [f"on_{s}_model_{m}" for s in ("validation", "test", "predict") for m in ("eval", "train")]
BATCHES = [
    f"on_{s}batch_{e}"
    for s in ("", "train_", "validation_", "test_", "predict_")
    for e in ("start", "end")
]
DATA = [f"{kind}_dataloader" for kind in ("train", "val", "test", "predict")]
OTHERS = ["prepare_data", "setup", "teardown", "configure_callbacks", "configure_model"]
OTHERS += ["on_save_checkpoint", "on_load_checkpoint", "on_fit_start", "on_fit_end"]
OTHERS += ["on_epoch_start", "on_epoch_end", "on_train_start", "on_train_end", "predict_step"]
OTHERS += ["optimizer_step", "optimizer_zero_grad", "backward", "on_after_backward"]


@pytest.mark.filterwarnings("ignore:the .* loader that was given is used")
def test_every_override_may_call_what_it_overrides(tmp_path):
    """Straight to LightningModule: it works, and changes nothing."""
    called = set()

    def calling(name):
        def override(self, *args, **kwargs):
            called.add(name)
            return getattr(LightningModule, name)(self, *args, **kwargs)

        return override

    names = [*ENDS, *EPOCHS, *STAGES, *MODES, *BATCHES, *DATA, *OTHERS]
    module = type("Calls", (Toy,), {name: calling(name) for name in names})()
    trainer = quiet(tmp_path)
    trainer.fit(module, loader(), loader(8))
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    trainer.test(module, loader(8), ckpt_path=tmp_path / "some.ckpt", verbose=False)
    with pytest.raises(NotImplementedError):  # forward takes what the module makes of a batch
        LightningModule().predict_step(None, 0)
    module.predict_step = lambda batch, batch_idx: batch[2]
    trainer.predict(module, loader(8))

    asked = {f"{kind}_dataloader" for kind in ("train", "val", "test", "predict")}
    assert set(names) - called == {*asked, "predict_step"}  # loaders were given
    assert trainer.global_step == 6 and module.training


def test_what_is_not_overridden_is_not_there(tmp_path):
    """A module without evaluation steps has none, whatever can be called through super()."""
    module = LightningModule()
    assert not any(hasattr(module, f"{verb}_step") for verb in ("training", "validation", "test"))
    assert [getattr(module, name)() for name in DATA] == [None] * 4
