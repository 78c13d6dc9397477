"""Which hooks are called, in which order, with which arguments."""

from __future__ import annotations

import pytest
import torch

from engine import Callback
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")

HOOKS = [name for name in vars(Callback) if name.startswith("on_")] + ["setup", "teardown"]
OWN = [
    "prepare_data",
    "configure_optimizers",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_sharded_model",
    "configure_callbacks",
    "training_epoch_end",
    "validation_epoch_end",
    "test_epoch_end",
    "configure_gradient_clipping",
    "training_step",
    "training_step_end",
    "validation_step",
    "validation_step_end",
    "test_step",
    "test_step_end",
    "predict_step",
    "train_dataloader",
    "on_train_dataloader",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "forward",
]
TRANSFER = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]


def recorder(calls, prefix, base, names):
    """A subclass of `base` that notes the name of everything that is called."""

    def noted(name):
        inner = getattr(base, name, None)

        def method(self, *args, **kwargs):
            calls.append(prefix + name)
            if name == "train_dataloader":
                return loader(8)
            if inner is not None:
                return inner(self, *args, **kwargs)
            return args[0] if name.endswith("_step_end") else None

        return method

    return type("Recorded", (base,), {name: noted(name) for name in names})


def both(name):
    return [f"Callback.{name}", name]


def evaluation(stage, batches):
    each = [
        *TRANSFER,
        *both(f"on_{stage}_batch_start"),
        f"{stage}_step",
        "forward",
        f"{stage}_step_end",
        *both(f"on_{stage}_batch_end"),
    ]
    return [
        *both(f"on_{stage}_start"),
        *both("on_epoch_start"),
        *both(f"on_{stage}_epoch_start"),
        *each * batches,
        f"{stage}_epoch_end",
        *both(f"on_{stage}_epoch_end"),
        *both("on_epoch_end"),
        *both(f"on_{stage}_end"),
    ]


TRAINING_BATCH = [
    *TRANSFER,
    *both("on_batch_start"),
    *both("on_train_batch_start"),
    "optimizer_step",  # its closure is what follows
    "training_step",
    "forward",
    "training_step_end",
    *both("on_before_zero_grad"),
    "optimizer_zero_grad",
    *both("on_before_backward"),
    "backward",
    *both("on_after_backward"),
    *both("on_before_optimizer_step"),
    "configure_gradient_clipping",
    *both("on_train_batch_end"),
    *both("on_batch_end"),
]

FIT = [
    "Callback.on_init_start",
    "Callback.on_init_end",
    "prepare_data",
    "configure_callbacks",
    *both("on_before_accelerator_backend_setup"),
    *both("setup"),
    "configure_sharded_model",
    *both("on_configure_sharded_model"),
    "configure_optimizers",
    *both("on_fit_start"),
    *both("on_pretrain_routine_start"),
    *both("on_pretrain_routine_end"),
    "on_train_dataloader",
    "train_dataloader",
    *both("on_sanity_check_start"),
    *evaluation("validation", 1),
    *both("on_sanity_check_end"),
    *both("on_train_start"),
    *both("on_epoch_start"),
    *both("on_train_epoch_start"),
    *TRAINING_BATCH * 2,
    *evaluation("validation", 1),
    "training_epoch_end",
    *both("on_train_epoch_end"),
    *both("on_epoch_end"),
    *both("on_train_end"),
    *both("on_fit_end"),
    *both("teardown"),
]


def recorded(calls):
    # A module has some hooks with other arguments than a callback: they are in OWN or not called.
    checkpoint_hooks = {"on_save_checkpoint", "on_load_checkpoint"}
    own = [h for h in HOOKS if h not in checkpoint_hooks] + OWN
    module = recorder(calls, "", Toy, own)
    callback = recorder(calls, "Callback.", Callback, HOOKS)
    return module(), callback()


def test_the_hooks_of_fit_are_called_in_lightnings_order(tmp_path):
    """S047-S065, S264, C2: two training batches, one of validation: the list of 1.5, entry by
    entry, gradients made None before backward, and the hooks of 1.3 among them."""
    calls = []
    module, callback = recorded(calls)
    trainer = quiet(tmp_path, callbacks=callback, num_sanity_val_steps=1)
    trainer.fit(module, val_dataloaders=loader(4))
    assert calls == FIT


def test_the_hooks_of_test_and_predict(tmp_path):
    """S027, S028, S066: each step with its end; all stand between setup and teardown."""
    calls = []
    module, callback = recorded(calls)
    trainer = quiet(tmp_path, callbacks=callback)
    calls.clear()
    begin = [
        "prepare_data",
        "configure_callbacks",
        *both("on_before_accelerator_backend_setup"),
        *both("setup"),
        "configure_sharded_model",
        *both("on_configure_sharded_model"),
    ]
    trainer.test(module, loader(8), verbose=False)
    assert calls == [*begin, *evaluation("test", 2), *both("teardown")]
    calls.clear()
    trainer.predict(module, loader(4))
    assert calls == [
        *begin,
        *both("on_predict_start"),
        *both("on_predict_epoch_start"),
        *TRANSFER,
        *both("on_predict_batch_start"),
        "predict_step",
        *both("on_predict_batch_end"),
        *both("on_predict_epoch_end"),
        *both("on_predict_end"),
        *both("teardown"),
    ]


def test_every_hook_of_a_callback_is_called_somewhere(tmp_path):
    """S067, S211: no method of the base class is a promise that nothing keeps, and modules may
    have all those hooks, too (the lists above)."""
    calls = []
    callback = recorder(calls, "", Callback, HOOKS)()
    path = tmp_path / "a.ckpt"

    class Ends(Toy):
        def on_predict_start(self):
            raise KeyboardInterrupt

    trainer = quiet(tmp_path, callbacks=callback, num_sanity_val_steps=1)
    model = Ends()
    trainer.fit(model, loader(), loader())
    trainer.save_checkpoint(path)
    again = quiet(tmp_path, callbacks=callback, max_epochs=2)
    again.fit(model, loader(), loader(), ckpt_path=path)
    trainer.test(model, loader(), verbose=False)
    trainer.predict(Toy(), loader())
    with pytest.raises(KeyboardInterrupt):
        trainer.predict(model, loader())
    assert set(HOOKS) - set(calls) == set()


def test_callbacks_that_monitor_come_after_the_module(tmp_path):
    """What the module logs at the end of an epoch is there for them, and for nobody before."""
    seen = {}

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen[type(self).__name__] = "late" in trainer.callback_metrics

    class Monitors(Watch):
        monitor = "late"

    class Late(Toy):
        def on_train_epoch_end(self):
            self.log("late", 1.0)

    quiet(tmp_path, callbacks=[Monitors(), Watch()]).fit(Late(), loader(), loader())
    assert seen == {"Watch": False, "Monitors": True}


def test_signatures_of_both_ages_work(tmp_path):
    """S015, S055, S057, S059: hooks and steps get as many arguments as they take, whatever they
    call them: those of 1.x and those of 2.x."""
    calls = []

    class Old(Toy):
        def training_step(self, batch, batch_nb):
            return super().training_step(batch, batch_nb)

        def on_train_batch_start(self, batch, batch_idx, dataloader_idx):
            calls.append(dataloader_idx)

        def on_before_optimizer_step(self, optimizer, optimizer_idx):
            calls.append(optimizer_idx)

        def optimizer_step(
            self,
            epoch,
            batch_idx,
            optimizer,
            optimizer_idx,
            optimizer_closure,
            on_tpu=False,
            using_native_amp=False,
            using_lbfgs=False,
        ):
            assert isinstance(optimizer, torch.optim.Adam)
            super().optimizer_step(
                epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu
            )

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer, optimizer_idx):
            optimizer.zero_grad(set_to_none=True)

        def backward(self, loss, optimizer, optimizer_idx):
            loss.backward()

    class New(Toy):
        def on_train_batch_start(self, batch, batch_idx):
            calls.append(0)

        def on_before_optimizer_step(self, optimizer):
            calls.append(0)

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
            optimizer.zero_grad()

        def backward(self, loss):
            loss.backward()

        def training_step(self, batch):
            return super().training_step(batch, 0)

    class OldWatch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
            calls.append(batch_idx)

    results = []
    for module in (Toy(), Old(), New()):
        calls.clear()
        trainer = quiet(tmp_path, callbacks=OldWatch())
        trainer.fit(module, loader(8), loader(4))
        results.append(module.net[0].weight)
        assert trainer.global_step == 2
    assert calls == [0, 0, 0, 0, 0, 1]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_hooks_that_take_outputs(tmp_path):
    """S060, S067: ends of batches and epochs in the forms of 1.3, on module and callback."""
    got = {}

    class Old(Toy):
        def on_train_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
            got["batch"] = (sorted(outputs), outputs["loss"].requires_grad, dataloader_idx)

        def on_train_epoch_end(self, outputs):
            got["module"] = [sorted(one) for one in outputs]

        def validation_step(self, batch, batch_idx):
            return batch_idx

        def on_validation_epoch_end(self, outputs):
            got["validation"] = outputs

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module, outputs):
            got["callback"] = outputs

        def on_validation_epoch_end(self, trainer, pl_module):
            got["new"] = True

    class Unused(Callback):
        def on_train_epoch_end(self, trainer, pl_module, unused=None):
            got["unused"] = unused

    quiet(tmp_path, callbacks=[Watch(), Unused()]).fit(Old(), loader(8), loader())
    assert got["batch"] == (["loss"], False, 0)
    assert got["module"] == [["loss"]] * 2 == [sorted(one) for one in got["callback"]]
    assert (got["validation"], got["new"]) == ([*range(6)], True)
    got.clear()
    quiet(tmp_path, callbacks=Unused()).fit(Toy(), loader(8), loader())
    assert got == {"unused": None}


def test_overrides_may_call_what_they_override(tmp_path):
    """S067: `super()` has every hook, ends of steps and of epochs too; those alone keep nothing."""
    calls = []

    class Calls(Toy):
        def transfer_batch_to_device(self, batch, device):  # as in 1.0
            calls.append("transfer")
            return super().transfer_batch_to_device(batch, device, 0)

        def on_before_batch_transfer(self, batch):
            return batch

        def training_step_end(self, output):
            return super().training_step_end(output)

        def training_epoch_end(self, outputs):
            calls.append(len(outputs))
            super().training_epoch_end(outputs)

        def on_train_epoch_end(self, *args):
            calls.append(len(args))
            super().on_train_epoch_end(*args)

        def on_train_batch_start(self, batch, batch_idx, *args):
            return super().on_train_batch_start(batch, batch_idx, *args)

    quiet(tmp_path).fit(Calls(), loader(8), loader())
    assert calls == [*["transfer"] * 8, 2, 0]
    trainer = quiet(tmp_path)
    trainer.fit(Toy(), loader(8), loader())
    assert trainer.global_step == 2
