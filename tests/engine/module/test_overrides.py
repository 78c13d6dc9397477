"""What a module or data module may override, and what it may leave out."""

from __future__ import annotations

import io

import pytest
import torch

from engine import Callback, LightningDataModule, MisconfigurationException
from engine.callbacks import ProgressBar
from engine.loops.hooks import by_name, fitted
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def test_what_the_bar_shows_by_the_module(tmp_path):
    """S092: `get_progress_bar_dict` of 1.x adds to what was logged for the bar."""

    class Shows(Toy):
        def get_progress_bar_dict(self):
            return {**super().get_progress_bar_dict(), "mood": "fine"}

    lines = io.StringIO()
    bar = ProgressBar()
    bar._stream = lines
    quiet(tmp_path, callbacks=bar, enable_progress_bar=True).fit(Shows(), loader(8), loader())
    assert "mood=fine" in lines.getvalue()


def test_a_step_that_a_module_leaves_out(tmp_path):
    """optimizer_step may run the closure only: then no step is counted, and none is taken."""

    class Rarely(Toy):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            if batch_idx % 2:
                optimizer.step(closure=optimizer_closure)
            else:
                optimizer_closure()

    model = Rarely()
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(), loader())
    assert (trainer.global_step, len(model.seen)) == (3, 24)


def test_an_optimizer_that_needs_a_closure(tmp_path):
    """LBFGS evaluates the step several times and counts as one."""

    class Closure(Toy):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), max_iter=4)

    model = Closure()
    trainer = quiet(tmp_path, gradient_clip_val=10.0)
    trainer.fit(model, loader(8, size=8), loader())
    assert trainer.global_step == 1
    assert len(model.seen) > 8


class Own(torch.optim.Optimizer):
    """Of another library: it calls its closure without a look, and without gradients."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad, alpha=0.1)
        return loss


class LeavesItAlone(torch.optim.SGD):
    def step(self, closure=None):
        return super().step()


@pytest.mark.parametrize("kind", [Own, LeavesItAlone])
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2}])
def test_optimizers_of_other_libraries_get_a_closure(tmp_path, kind, settings):
    """One that always calls its closure learns, and one that never does, exactly as torch's."""
    learned = []
    for one in (kind, torch.optim.SGD):

        class Other(Toy):
            def configure_optimizers(self, one=one):
                return one(self.parameters()) if one is Own else one(self.parameters(), lr=0.1)

        torch.manual_seed(0)
        model = Other()
        trainer = quiet(tmp_path, gradient_clip_val=0.5, **settings)
        trainer.fit(model, loader(), loader())
        assert (len(model.seen), trainer.global_step) == (24, 6 // (2 if settings else 1))
        learned.append(weights(model))
    assert torch.equal(*learned)


def takes(optimizer, closure):
    optimizer.step(closure=closure)


def wraps(optimizer, closure):
    optimizer.step(closure=lambda: closure())


def runs_it_first(optimizer, closure):
    closure()
    optimizer.step()


def unwraps(optimizer, closure):
    optimizer.optimizer.step(closure)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, max_iter=2)


@pytest.mark.filterwarnings("ignore:training_step returned None")
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *((kind, step) for kind in (sgd, lbfgs, Own) for step in (None, takes, wraps)),
        (sgd, runs_it_first),
        (Own, runs_it_first),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.5}])
def test_a_skipped_batch_is_no_step(tmp_path, kind, step, settings):
    """S020, S045: a batch without a loss changes nothing, whoever asks for it with a closure."""

    class Skips(Toy):
        def configure_optimizers(self):
            return kind(self.parameters())

        def on_train_batch_start(self, batch, batch_idx):
            self.before = weights(self)

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) if batch_idx % 2 == 0 else None

        def on_train_batch_end(self, outputs, batch, batch_idx):
            is_same = torch.equal(self.before, weights(self))
            assert (is_same, outputs is None) == (bool(batch_idx % 2),) * 2

    class Steps(Skips):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, closure, *flags):
            step(optimizer, closure)

    trainer = quiet(tmp_path, **settings)
    trainer.fit(Skips() if step is None else Steps(), loader(), loader())
    assert trainer.global_step == 3


def test_an_optimizer_out_of_its_wrapping(tmp_path):
    """S057: `optimizer.optimizer.step(closure)` is a step as any other."""

    class Steps(Toy):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, closure, *flags):
            unwraps(optimizer, closure)

    model, plain = Steps(), Toy()
    trainer = quiet(tmp_path, max_epochs=9, max_steps=4)
    trainer.fit(model, loader(), loader())
    quiet(tmp_path, max_steps=4).fit(plain, loader(), loader())
    assert (trainer.global_step, len(model.seen)) == (4, 16)
    assert torch.equal(weights(model), weights(plain))


def test_a_step_without_the_closure_is_an_error(tmp_path):
    """S057: it would have no gradients: nothing would ever be learned, and nobody told."""

    class Forgets(Toy):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, closure, *flags):
            optimizer.step()

    with pytest.raises(MisconfigurationException, match=r"optimizer.step\(closure=optimizer_clo"):
        quiet(tmp_path).fit(Forgets(), loader(), loader())


def test_manual_steps_without_a_closure(tmp_path):
    """By hand, too: `optimizer.step()` of such an optimizer has a closure that does nothing."""

    class ByHand(Toy):
        automatic_optimization = False

        def configure_optimizers(self):
            return Own(self.parameters())

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    trainer = quiet(tmp_path)
    trainer.fit(ByHand(), loader(), loader())
    assert trainer.global_step == 6


def test_the_rest_of_an_epoch_is_skipped(tmp_path):
    """A training batch start that returns -1 ends the epoch."""

    class Enough(Toy):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 2 else None

    trainer = quiet(tmp_path, max_epochs=2)
    trainer.fit(Enough(), loader(), loader())
    assert trainer.global_step == 4


def test_data_modules_are_set_up_with_the_stage(tmp_path):
    """prepare_data, setup(stage), loaders, teardown(stage); hooks may take no stage at all."""
    calls = []

    class Data(LightningDataModule):
        def prepare_data(self):
            calls.append("prepare")

        def setup(self, stage=None):
            calls.append(stage)
            self.dims = (1, 28, 28)

        def teardown(self, stage):
            calls.append(f"down {stage}")

        def train_dataloader(self):
            return loader()

        def val_dataloader(self):
            return [loader(), loader(8)]

        def test_dataloader(self):
            return loader()

    class Two(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            calls.append(dataloader_idx)

    data = Data()
    trainer = quiet(tmp_path)
    model = Two()
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    val = [0] * 6 + [1] * 2
    assert calls == ["prepare", "fit", *val, "down fit", "prepare", "test", "down test"]
    assert (data.size(), data.size(0)) == ((1, 28, 28), 1)


def test_prepare_data_must_not_keep_anything(tmp_path):
    """S194: it runs in one process: what it sets is missing on the others, also where it was set
    to something else before, or is a layer of the module; what it leaves alone is not named.
    """

    class Keeps(LightningDataModule):
        def __init__(self):
            super().__init__()
            self.size, self.words = 5, None

        def prepare_data(self):
            self.words = 3

        def train_dataloader(self):
            return loader()

    class Grows(Toy):
        def prepare_data(self):
            self.head = torch.nn.Linear(2, 2)

    with pytest.warns(UserWarning) as said:
        quiet(tmp_path).fit(Grows(), Keeps())
    told = [str(one.message).split(":")[0] for one in said if "prepare_data" in str(one.message)]
    assert told == ["`prepare_data` of Keeps has set words", "`prepare_data` of Grows has set head"]


def test_a_modules_own_callbacks_replace_those_of_their_class(tmp_path):
    """configure_callbacks counts."""
    used = []

    class Watch(Callback):
        def __init__(self, name):
            self.name = name

        def on_fit_start(self, trainer, pl_module):
            used.append(self.name)

    class Own(Toy):
        def configure_callbacks(self):
            return Watch("module")

    quiet(tmp_path, callbacks=[Watch("trainer")]).fit(Own(), loader(), loader())
    assert used == ["module"]


def test_arguments_by_number_and_by_name():
    """Trailing arguments that a hook does not take are dropped; known names find their own."""
    assert fitted(lambda a, b: (a, b), 3)(1, 2, 3) == (1, 2)
    assert fitted(lambda *all: all, 3)(1, 2, 3) == (1, 2, 3)
    assert by_name(lambda loss: loss, "loss", "optimizer")(1, 2) == 1
    assert by_name(lambda optimizer, loss: (optimizer, loss), "loss", "optimizer")(1, 2) == (2, 1)
    assert by_name(lambda x, y: (x, y), "loss", "optimizer")(1, 2) == (1, 2)
