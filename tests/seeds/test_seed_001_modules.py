"""The guide's code blocks about modules: steps, optimizers, the tuner, transfer, devices."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.engine.support.toy import samples
from tests.seeds.repairs import START, Repair

ONE = (
    START
    + """
def configure_optimizers(self):
    opt = Adam(self.parameters(), lr=1e-3)
    return opt
"""
)
SEVERAL = (
    START
    + """
def configure_optimizers(self):
    generator_opt = Adam(self.model_gen.parameters(), lr=0.01)
    disriminator_opt = Adam(self.model_disc.parameters(), lr=0.02)
    return generator_opt, discriminator_opt
"""
)
TWO_LISTS = (
    START
    + """
def configure_optimizers(self):
    generator_opt = Adam(self.model_gen.parameters(), lr=0.01)
    discriminator_opt = Adam(self.model_disc.parameters(), lr=0.02)
    discriminator_sched = CosineAnnealing(discriminator_opt, T_max=10)
    return [generator_opt, discriminator_opt], [discriminator_sched]
"""
)
BY_STEP = (
    START
    + """
def configure_optimizers(self):
    gen_opt = Adam(self.model_gen.parameters(), lr=0.01)
    dis_opt = Adam(self.model_disc.parameters(), lr=0.02)
    gen_sched = {'scheduler': ExponentialLR(gen_opt, 0.99), 'interval': 'step'}
    dis_sched = CosineAnnealing(discriminator_opt, T_max=10)
    return [gen_opt, dis_opt], [gen_sched, dis_sched]
"""
)
FREQUENCIES = (
    START
    + """
def configure_optimizers(self):
    gen_opt = Adam(self.model_gen.parameters(), lr=0.01)
    dis_opt = Adam(self.model_disc.parameters(), lr=0.02)
    n_critic = 5
    return (
        {'optimizer': dis_opt, 'frequency': n_critic},
        {'optimizer': gen_opt, 'frequency': 1}
    )
"""
)
_NO_IMPORT = Repair(START, "from torch.optim import Adam\n", "an import is missing")
_SCHEDULERS = Repair(
    START,
    "from torch.optim import Adam\nfrom torch.optim.lr_scheduler import *\n",
    "imports are missing",
)
_COSINE = Repair("CosineAnnealing(", "CosineAnnealingLR(", "there is no such scheduler")
REPAIRS = {
    "one": (_NO_IMPORT,),
    "several": (
        _NO_IMPORT,
        Repair("disriminator_opt", "discriminator_opt", "a letter is missing"),
    ),
    "two_lists": (_SCHEDULERS, _COSINE),
    "by_step": (
        _SCHEDULERS,
        _COSINE,
        Repair("discriminator_opt", "dis_opt", "a name that the block does not define"),
    ),
    "frequencies": (_NO_IMPORT,),
}


@pytest.fixture
def block(old):
    return old("old_001")


@pytest.fixture
def gan(run_block, block):
    """A module with two parts, and the `configure_optimizers` of a block."""

    class GAN(block.Net):
        def __init__(self):
            super().__init__()
            self.model_gen, self.model_disc = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
            self.turns, self.rates = [], []

        def training_step(self, batch, batch_idx, optimizer_idx=None):
            self.turns.append(optimizer_idx)
            return self.model_disc(self.model_gen(batch[0])).square().mean() + self(batch[0]).mean()

        def on_train_batch_start(self, *_):
            optimizers = self.optimizers()
            several = optimizers if isinstance(optimizers, list) else [optimizers]
            self.rates.append([o.param_groups[0]["lr"] for o in several])

    def make(text, repairs):
        GAN.configure_optimizers = run_block(text, repairs)["configure_optimizers"]
        return GAN()

    return make


def pairs(count=24):
    return DataLoader(TensorDataset(*samples(count).tensors[:2]), batch_size=4)


def fit(model, *loaders, **options):
    import pytorch_lightning as pl

    silent = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0}
    trainer = pl.Trainer(**{"max_epochs": 1, "weights_summary": None, **silent, **options})
    trainer.fit(model, *loaders)
    return trainer


def test_a_step_and_the_end_of_its_epoch(block):
    """S258: `training_epoch_end` gets what every step returned, in order."""
    model = block.StepAndEpochEnd()
    fit(model, pairs())

    assert [len(preds) for preds in model.all_preds] == [4] * 6
    assert model.losses.shape == (6,)
    assert not model.losses.requires_grad


def test_one_loss(block):
    """S259: the plain form."""
    model = block.OneLoss()
    before = model.layer.weight.clone()
    assert fit(model, pairs()).global_step == 6
    assert not torch.equal(model.layer.weight, before)


def test_two_optimizers(block):
    """S259: the form with `optimizer_idx`."""
    model = block.TwoOptimizers()
    before = [p.clone() for p in model.encoder.parameters()]
    fit(model, pairs())
    assert model.turns == [0, 1] * 6
    assert not torch.equal(before[0], model.encoder.weight)


def test_truncated(block):
    """S259: the form with `hiddens`: pieces of two time steps, each begins with the state of the
    one before, cut off."""
    model = block.Truncated()
    data = TensorDataset(torch.randn(4, 6, 3), torch.randn(4, 6))
    fit(model, DataLoader(data, batch_size=4))
    assert model.seen == [(2, None), (2, False), (2, False)]


def test_configure_one_optimizer(gan):
    """S260: an optimizer alone."""
    model = gan(ONE, REPAIRS["one"])
    fit(model, pairs())
    assert model.turns == [None] * 6


def test_configure_several_optimizers(gan):
    """S260: a tuple of optimizers takes turns in every batch."""
    model = gan(SEVERAL, REPAIRS["several"])
    fit(model, pairs())
    assert model.turns == [0, 1] * 6
    assert model.rates == [[0.01, 0.02]] * 6


def test_configure_two_lists(gan):
    """S260: a scheduler steps once an epoch."""
    model = gan(TWO_LISTS, REPAIRS["two_lists"])
    fit(model, pairs(8), max_epochs=3)
    assert [rate for rate, _ in model.rates] == [0.01] * 6
    second = [rate for _, rate in model.rates]
    assert second[0] == second[1] == 0.02 > second[2] == second[3] > second[4] == second[5]


def test_configure_by_step(gan):
    """S260: one scheduler steps with every step, the other with every epoch."""
    model = gan(BY_STEP, REPAIRS["by_step"])
    fit(model, pairs(8), max_epochs=2)
    by_step, by_epoch = zip(*model.rates, strict=True)
    assert by_step == pytest.approx([0.01 * 0.99**n for n in range(4)])
    assert by_epoch[0] == by_epoch[1] == 0.02 > by_epoch[2] == by_epoch[3]


def test_configure_frequencies(gan):
    """S260: five batches for the critic, one for the generator, over the end of an epoch."""
    model = gan(FREQUENCIES, REPAIRS["frequencies"])
    fit(model, pairs(32), max_epochs=2)
    assert model.turns == [0, 0, 0, 0, 0, 1] * 2 + [0] * 4


@pytest.mark.parametrize("name", ["several", "two_lists", "by_step"])
def test_the_mistakes_are_all_needed(gan, name):
    """C10: as printed, `CosineAnnealing` and `discriminator_opt` are names that nobody defined, and
    no optimizer is imported; without any one of the repairs it fails at that very name."""
    text = {"several": SEVERAL, "two_lists": TWO_LISTS, "by_step": BY_STEP}[name]
    for left_out in REPAIRS[name]:
        some = tuple(each for each in REPAIRS[name] if each is not left_out)
        with pytest.raises(NameError):
            fit(gan(text, some), pairs(4))


def test_log_dict(block):
    """S261: every value of the dict is a metric."""
    trainer = fit(block.LogsDict(), pairs())
    assert {"loss", "acc"} <= set(trainer.callback_metrics)


def test_minimal(block, tmp_path):
    """S263: a model, a trainer, fit: it trains, and leaves a version with a checkpoint."""
    trainer = block.minimal(pairs(), pairs())
    assert trainer.global_step == 6
    assert len(list((tmp_path / "lightning_logs/version_0/checkpoints").iterdir())) == 1


@pytest.mark.parametrize("mode", [True, "binsearch"])
def test_scale_batch_size(block, mode):
    """S265: `tune` finds a batch size within the data, and leaves the weights alone."""
    data = TensorDataset(*samples(40).tensors[:2])
    model = block.Tuned(learning_rate=0.1, batch_size=2, dataset=data)
    before = model.layer.weight.clone()
    block.scale_batch_size(model, mode)
    assert 2 < model.batch_size <= 64
    assert torch.equal(model.layer.weight, before)


def test_find_a_learning_rate(block):
    """S265: `tune` puts a rate that it found in the place of `learning_rate`, and leaves the
    weights alone; a fit then uses it."""
    data = TensorDataset(*samples(200).tensors[:2])
    model = block.Tuned(learning_rate=1e-7, batch_size=50, dataset=data)
    before = model.layer.weight.clone()
    trainer = block.find_rate(model)
    assert 1e-4 < model.learning_rate < 1
    assert torch.equal(model.layer.weight, before)
    trainer.fit(model)
    assert trainer.optimizers[0].param_groups[0]["lr"] == model.learning_rate


def test_transfer_learning(block):
    """S277: `.eval()` in `forward` counts: the extractor's statistics and weights stay as they
    were, the classifier learns."""
    torch.manual_seed(0)
    model = block.ImagenetTransferLearning()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = TensorDataset(torch.rand(12, 3, 32, 32) + 3, torch.arange(12) % 10)
    fit(model, DataLoader(images, batch_size=4), max_epochs=2)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert "feature_extractor.1.running_mean" in before


def test_devices(block):
    """S278: `type_as`, `device=self.device` and buffers are all where the batch is; with a GPU, on
    it."""
    model = block.DeviceFree()
    gpus = 1 if torch.cuda.is_available() else None
    fit(model, pairs(), gpus=gpus)
    assert model.places == {"cuda:0" if gpus else "cpu"}


def test_rdn_fuse(block):
    """S278: an inner network's own tensors come along."""
    model = block.MInterface()
    before = model.model.fuse.weight.clone()
    fit(model, pairs(), gpus=1 if torch.cuda.is_available() else None)
    assert not torch.equal(model.model.fuse.weight.cpu(), before)
