"""The code blocks that explain module, data and trainer with images."""

from __future__ import annotations

import pytest
import torch

from tests.seeds.repairs import START, missing_import

LIT_MODEL = (
    START
    + """
class LitModel(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer_1 = torch.nn.Linear(28 * 28, 16)
        self.layer_2 = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        x = F.relu(self.layer_1(x))
        return self.layer_2(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log('train_loss', loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log('val_loss', F.cross_entropy(self(x), y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log('test_loss', F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)
"""
)
GIVEN = "import torch\nimport pytorch_lightning as pl\n"
REPAIRS = (missing_import("import torch.nn.functional as F"),)
GPUS = 1 if torch.cuda.is_available() else None


@pytest.fixture
def block(old):
    return old("old_004")


@pytest.fixture
def lit_model(run_block):
    return run_block(GIVEN + LIT_MODEL, REPAIRS)["LitModel"]


def test_lit_model(run_block, lit_model):
    """S287, C10: `F` is not imported in the block; with that line it predicts."""
    x = torch.rand(2, 1, 28, 28)
    with pytest.raises(NameError, match="'F'"):
        run_block(GIVEN + LIT_MODEL)["LitModel"]()(x)
    assert lit_model()(x).shape == (2, 10)


def test_data_module(block):
    """S288: loaders of its three parts, after `prepare_data` and `setup` without a stage."""
    data = block.MNISTDataModule()
    data.prepare_data()
    data.setup()
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert [len(loader.dataset) for loader in loaders] == [50, 10, 60]
    assert next(iter(loaders[0]))[0].shape == (8, 1, 28, 28)


def test_train_on_mnist(block, lit_model, tmp_path):
    """S287, S289: ten epochs with a data module in the second place, then a test; `gpus=1` where
    there is one, and where there is none an error that says so."""
    from engine import MisconfigurationException

    if GPUS is None:
        with pytest.raises(MisconfigurationException, match="GPU"):
            block.train_on_mnist(lit_model, gpus=1)
    trainer, model, data = block.train_on_mnist(lit_model, gpus=GPUS)
    assert trainer.global_step == 10 * 7
    [result] = trainer.test(model, datamodule=data)
    assert set(result) == {"test_loss"}
    assert len(list((tmp_path / "lightning_logs/version_0/checkpoints").iterdir())) == 1


def test_image_classifier(block):
    """S290: a backbone with a new last layer is a model like any other."""
    model = block.ImageClassifier(num_classes=3)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert model.hparams.learning_rate == 1e-2


def test_image_data_module(block):
    """S291: without `prepare_data` and without test data; the split is the same each time."""
    parts = []
    for _ in range(2):
        data = block.ImageDataModule("images")
        data.setup("fit")
        parts.append((data.train_dataset.indices, data.val_dataset.indices))
    assert parts[0] == parts[1]
    assert [len(part) for part in parts[0]] == [48, 12]
    assert next(iter(data.train_dataloader()))[0].shape == (8, 3, 32, 32)


def test_train_on_images(block):
    """S290, S292: five epochs, with accuracy and loss of validation at hand."""
    trainer = block.train_on_images("images", gpus=GPUS)
    assert trainer.global_step == 5 * 6
    assert {"train_loss", "val_loss", "val_acc"} <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["train_loss"] < 5
