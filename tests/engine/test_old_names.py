"""Names of 1.x that programs call or read, beside the ones of today."""

from __future__ import annotations

from toy import Toy, loader, quiet

from engine import Callback

# What a module calls otherwise than a callback, or has no hook for.
_OF_CALLBACKS = {
    "on_init_start",
    "on_init_end",
    "on_before_accelerator_backend_setup",
    "on_configure_sharded_model",
    "on_sanity_check_start",
    "on_sanity_check_end",
    "on_exception",
    "on_keyboard_interrupt",
    "on_batch_start",
    "on_batch_end",
    "on_save_checkpoint",  # no checkpoint is written here
    "on_load_checkpoint",
}


def test_an_override_may_call_the_hook_that_it_overrides(tmp_path) -> None:
    """S067: `super()` has every hook of a module, so overrides can be stacked."""
    names = {name for name in vars(Callback) if name.startswith("on_")} - _OF_CALLBACKS
    called: list[str] = []

    def stacked(name):
        def hook(self, *args, **kwargs):
            called.append(name)
            return getattr(super(Stacked, self), name)(*args, **kwargs)

        return hook

    Stacked = type("Stacked", (Toy,), {name: stacked(name) for name in sorted(names)})
    trainer = quiet(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(Stacked(), loader(), loader(8))
    trainer.test(dataloaders=loader(8))
    trainer.predict(dataloaders=loader(8))

    assert set(called) == names
