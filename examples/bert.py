"""A small BERT, built from a config, tells praise from blame: what counts comes after "but".

python examples/bert.py
plaunch --procs 2 examples/bert.py
"""

import argparse
import random

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel, get_linear_schedule_with_warmup

from engine import LightningDataModule, LightningModule, Trainer, seed_everything
from engine.loggers import CSVLogger
from engine.metrics import functional as FM

THINGS = ["plot", "acting", "music", "ending", "camera", "cast", "script", "light"]
GOOD = ["good", "great", "fine", "superb", "lovely", "strong", "clever", "fresh"]
BAD = ["bad", "awful", "dull", "poor", "boring", "weak", "clumsy", "stale"]
WORDS = ["[PAD]", "[CLS]", "the", "was", "not", "really", "but", *THINGS, *GOOD, *BAD]
NUMBERS = {word: number for number, word in enumerate(WORDS)}


def a_clause(draw):
    """Such as "the plot was not really good", and whether that is praise."""
    is_good, is_denied = draw.random() < 0.5, draw.random() < 0.5
    said = ["not"] * is_denied + ["really"] * (draw.random() < 0.5)
    words = ["the", draw.choice(THINGS), "was", *said, draw.choice(GOOD if is_good else BAD)]
    return words, is_good != is_denied


def a_review(draw):
    """One or two clauses; the last one decides."""
    words, is_praise = a_clause(draw)
    if draw.random() < 0.5:
        more, is_praise = a_clause(draw)
        words = [*words, "but", *more]
    return torch.tensor([NUMBERS[word] for word in ["[CLS]", *words]]), int(is_praise)


def together(reviews):
    """A batch: words filled up to one length, where words are, and labels."""
    words, labels = zip(*reviews, strict=True)
    words = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
    return words, words != NUMBERS["[PAD]"], torch.tensor(labels)


class Reviews(LightningDataModule):
    def setup(self, stage=None):
        draw = random.Random(42)
        reviews = [a_review(draw) for _ in range(2560)]
        self.train, self.val = reviews[:2048], reviews[2048:]

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=32, shuffle=True, collate_fn=together)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64, collate_fn=together)


class BertClassifier(LightningModule):
    def __init__(self, width=64, layers=2, lr=1e-3, weight_decay=0.01):
        super().__init__()
        self.save_hyperparameters()
        sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 4}
        self.bert = BertModel(BertConfig(vocab_size=len(WORDS), num_hidden_layers=layers, **sizes))
        self.head = torch.nn.Linear(width, 2)

    def forward(self, words, mask):
        return self.head(self.bert(words, attention_mask=mask).pooler_output)

    def training_step(self, batch, batch_idx):
        words, mask, labels = batch
        loss = F.cross_entropy(self(words, mask), labels)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        words, mask, labels = batch
        self.log("val_acc", FM.accuracy(self(words, mask), labels), prog_bar=True)

    def configure_optimizers(self):
        """No decay of biases and norms; the rate rises in the first tenth of all steps."""
        no_decay = ("bias", "LayerNorm.weight")
        decayed = [p for name, p in self.named_parameters() if not name.endswith(no_decay)]
        others = [p for name, p in self.named_parameters() if name.endswith(no_decay)]
        groups = [
            {"params": decayed, "weight_decay": self.hparams.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams.lr)
        steps = self.trainer.estimated_stepping_batches
        schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    seed_everything(1)
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        gradient_clip_val=1.0,
        log_every_n_steps=10,
        logger=CSVLogger(),
    )
    trainer.fit(BertClassifier(), datamodule=Reviews())


if __name__ == "__main__":
    main()
