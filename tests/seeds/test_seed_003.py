"""The code block of the tutorial of concepts: a BERT of `transformers`, built from a config."""

from __future__ import annotations

import pytest
import torch
import transformers


@pytest.fixture
def bert(old, monkeypatch):
    """The block's class; what it would fetch is a small config."""
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )

    class Config:
        @staticmethod
        def from_pretrained(name, num_labels):
            config.num_labels = num_labels
            return config

    class Model:
        @staticmethod
        def from_pretrained(name, config):
            return transformers.BertModel(config)

    block = old("old_003")
    monkeypatch.setattr(block, "AutoConfig", Config)
    monkeypatch.setattr(block, "AutoModel", Model)
    return block.BertModel


def loader():
    words = torch.arange(16).view(8, 2)
    return torch.utils.data.DataLoader(
        [({"input_ids": row}, torch.tensor(n % 3)) for n, row in enumerate(words)], batch_size=4
    )


def test_without_a_training_step(bert):
    """S286, C11: the module is made; fit says that `training_step` is missing."""
    import pytorch_lightning as pl

    from engine import MisconfigurationException

    model = bert("bert-base", num_labels=3)
    trainer = pl.Trainer(max_epochs=1, logger=False)
    with pytest.raises(MisconfigurationException, match=r"BertModel has no `training_step`"):
        trainer.fit(model, loader())


def test_its_optimizer_is_that_of_the_config(bert):
    """S286: with a training step its dict of optimizer and scheduler is what trains it: two groups,
    one without decay, and a warm-up by step."""
    import pytorch_lightning as pl

    rates = []

    class Trains(bert):
        def training_step(self, batch, batch_idx):
            inputs, labels = batch
            rates.append(self.optimizers().param_groups[0]["lr"])
            return torch.nn.functional.cross_entropy(self(**inputs), labels)

    model = Trains("bert-base", num_labels=3)
    trainer = pl.Trainer(max_epochs=2, logger=False, progress_bar_refresh_rate=0)
    trainer.fit(model, loader())
    assert rates == pytest.approx([0.0, 1e-5, 2e-5, 2e-5 * 7 / 8])
    groups = trainer.optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
