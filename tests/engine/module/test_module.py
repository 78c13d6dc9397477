"""What a module knows and keeps: device, precision, hyper-parameters, and its way out of a file."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
import yaml

from engine import LightningModule, Trainer
from engine.loggers import CSVLogger
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def test_a_module_alone():
    """S012, S013: it is made without a trainer, and called as any torch module, hooks included."""
    model = Toy()
    assert model.current_epoch == model.global_step == 0
    assert model.global_rank == 0
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(output))
    x = torch.ones(3, 4)
    output = model(x)
    assert torch.equal(output, model.forward(x))
    assert len(seen) == 1 and seen[0] is output
    assert output.requires_grad


def test_freeze_and_unfreeze():
    """S073: for prediction nothing needs a gradient and dropout is off; `unfreeze` ends both."""
    model = Toy(dropout=0.9)
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())
    x = torch.ones(3, 4)
    assert torch.equal(model(x), model(x))
    model.unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


class Base(Toy):
    """A base class with arguments of its own."""

    def __init__(self, hidden=8, **rest):
        super().__init__(width=hidden)
        self.save_hyperparameters()


class Child(Base):
    def __init__(self, learning_rate, *, hidden=6, names=("a", "b"), **rest):
        super().__init__(hidden=hidden, **rest)
        self.save_hyperparameters()


def test_all_arguments_are_hyper_parameters(tmp_path):
    """S074, S076, S210: those of __init__, defaults and **kwargs too, are in `hparams`, in a file
    beside the logs, and in the checkpoint, from which the module is made without any argument.
    """
    model = Child(0.25, depth=2)
    expected = {"learning_rate": 0.25, "hidden": 6, "names": ("a", "b"), "depth": 2}
    assert {name: model.hparams[name] for name in expected} == expected
    assert (model.hparams.learning_rate, model.hparams.get("none")) == (0.25, None)
    assert "hidden" in model.hparams and "none" not in model.hparams
    with pytest.raises(AttributeError, match="'none'"):
        model.hparams.none  # noqa: B018  (the access is what is tested)
    model.hparams.learning_rate = 0.5

    trainer = quiet(tmp_path, logger=CSVLogger(tmp_path, version=0), max_epochs=1)
    trainer.fit(model, loader())
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    text = (tmp_path / "lightning_logs" / "version_0" / "hparams.yaml").read_text()
    assert {**expected, "names": ["a", "b"]}.items() <= yaml.safe_load(text).items()
    kept = torch.load(tmp_path / "c.ckpt", weights_only=True)["hyper_parameters"]
    assert {**expected, "learning_rate": 0.5}.items() <= kept.items()

    loaded = Child.load_from_checkpoint(tmp_path / "c.ckpt")
    assert (loaded.hparams.learning_rate, loaded.hparams.depth) == (0.5, 2)
    assert torch.equal(weights(loaded), weights(model))


class OfArgs(LightningModule):
    """As in the tutorials: everything comes in one Namespace, and a tokenizer beside it."""

    def __init__(self, args, tokenizer=None):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, args.classes)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.args.lr)


def test_a_namespace_and_what_is_no_data_in_a_real_run(tmp_path):
    """S075: training, logging and saving go on with a tokenizer among the arguments; the warning
    names it, and the Namespace comes back as it was.
    """
    args = Namespace(classes=2, lr=0.1, sizes=[1, 2], note=None)
    model = OfArgs(args, tokenizer=lambda text: text.split())
    trainer = quiet(tmp_path, logger=CSVLogger(tmp_path))
    trainer.fit(model, loader())
    with pytest.warns(UserWarning, match=r"'tokenizer'.*load_from_checkpoint\(path, tokenizer"):
        trainer.save_checkpoint(tmp_path / "c.ckpt")
    loaded = OfArgs.load_from_checkpoint(tmp_path / "c.ckpt", tokenizer=str.split)
    assert loaded.hparams.args == args
    assert loaded.hparams.tokenizer("a b") == ["a", "b"]
    assert torch.equal(weights(loaded), weights(model))


@pytest.mark.parametrize(
    "accelerator",
    [
        "cpu",
        pytest.param(
            "gpu",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
        ),
    ],
)
def test_tensors_can_be_made_on_the_modules_device(tmp_path, accelerator):
    """S077: `self.device` is the trainer's device in every step, also before there are parameters
    and for a module without any.
    """
    seen = {}

    class Where(Toy):
        def training_step(self, batch, batch_idx):
            seen["training"] = self.device
            noise = torch.zeros(len(batch[0]), 4, device=self.device)
            assert noise.type_as(batch[0]).device == batch[0].device
            return self.loss([batch[0] + noise, batch[1]])

        def validation_step(self, batch, batch_idx):
            seen["validation"] = self.device

        def setup(self, stage):
            self.made_here = torch.ones(1)

    class Nothing(LightningModule):
        def predict_step(self, batch, batch_idx):
            seen["predict"] = self.device

    trainer = quiet(tmp_path, accelerator=accelerator, devices=1)
    trainer.fit(Where(), loader(), loader())
    trainer.predict(Nothing(), loader())
    device = trainer.strategy.root_device
    assert device.type == {"cpu": "cpu", "gpu": "cuda"}[accelerator]
    assert seen == {"training": device, "validation": device, "predict": device}
    assert Toy().device == torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "seen"), [(16, 16), ("bf16", "bf16"), (32, 32), ("64-true", 64), ("32-true", 32)]
)
def test_the_precision_is_the_trainers(tmp_path, given, seen):
    """S078: as 1.x names it, however it was given; 32 for a module alone."""
    model = Toy()
    assert model.precision == 32
    model.trainer = Trainer(precision=given, logger=False, default_root_dir=str(tmp_path))
    assert model.precision == seen


def test_weights_biases_and_hyper_parameters_are_loaded(tmp_path, capsys):
    """S082, S121: `load_from_checkpoint` of what `save_checkpoint` wrote; its init may print."""

    class Prints(Toy):
        def __init__(self, learning_rate=1.0):
            super().__init__(lr=learning_rate)
            self.save_hyperparameters()
            print("lr is", self.hparams.learning_rate)

    model = Prints(learning_rate=0.125)
    trainer = quiet(tmp_path)
    trainer.fit(model, loader())
    trainer.save_checkpoint(str(tmp_path / "example.ckpt"))
    capsys.readouterr()
    loaded = Prints.load_from_checkpoint(str(tmp_path / "example.ckpt"))
    assert capsys.readouterr().out == "lr is 0.125\n"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    loaded.eval()
    assert torch.equal(loaded(torch.ones(1, 4)), model(torch.ones(1, 4)))


def test_hyper_parameters_can_be_overridden(tmp_path):
    """S083: what is given at load counts; where the weights then do not fit, the error says which
    argument, which weights and which shapes, and what to do.
    """
    trainer = quiet(tmp_path)
    trainer.fit(Toy(lr=0.5), loader())
    trainer.save_checkpoint(tmp_path / "t.ckpt")
    assert Toy.load_from_checkpoint(tmp_path / "t.ckpt").hparams.lr == 0.5
    assert Toy.load_from_checkpoint(tmp_path / "t.ckpt", lr=0.2).hparams.lr == 0.2
    message = r"Toy\(width=5\).*net\.0\.weight is \(8, 4\) in the file and \(5, 4\) in the module"
    with pytest.raises(RuntimeError, match=message):
        Toy.load_from_checkpoint(tmp_path / "t.ckpt", width=5)
    with pytest.warns(UserWarning, match="no argument .depth.: it is left out"):
        Toy.load_from_checkpoint(tmp_path / "t.ckpt", depth=5)
