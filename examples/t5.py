"""A small T5, built from a config, learns to sum up a list; `predict` writes what it says.

python examples/t5.py
plaunch --procs 2 examples/t5.py        # one file, in the order of the data
"""

import argparse
import random

import torch
from torch.utils.data import DataLoader
from transformers import T5Config, T5ForConditionalGeneration

from engine import LightningDataModule, LightningModule, Trainer, seed_everything
from engine.callbacks import PredictionWriter

NAMES = ["ann", "ben", "cleo", "dan", "eve", "finn", "gail", "hugo", "ida", "jon"]
DEEDS = ["sings", "reads", "cooks", "runs", "paints", "swims"]
WORDS = ["<pad>", "</s>", "and", "then", *NAMES, *DEEDS]
NUMBERS = {word: number for number, word in enumerate(WORDS)}


def a_text(draw):
    """Who does what, three times; its summary is who and what came first and last."""
    names, deeds = draw.sample(NAMES, 3), draw.sample(DEEDS, 3)
    told = [f"{name} {deed}" for name, deed in zip(names, deeds, strict=True)]
    return " then ".join(told), f"{names[0]} and {names[2]}"


def encoded(texts):
    """Texts of equal length as numbers, each with its end."""
    return torch.tensor([[*(NUMBERS[word] for word in text.split()), 1] for text in texts])


def decoded(numbers):
    """Numbers up to the end as text."""
    words = [WORDS[number] for number in numbers.tolist() if number != 0]
    return " ".join(words[: words.index("</s>")] if "</s>" in words else words)


class Texts(LightningDataModule):
    def setup(self, stage=None):
        draw = random.Random(42)
        pairs = [a_text(draw) for _ in range(2112)]
        self.train, self.unseen = pairs[:2048], pairs[2048:]

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def predict_dataloader(self):
        return DataLoader(self.unseen, batch_size=8)


class Summariser(LightningModule):
    def __init__(self, width=64, lr=2e-3):
        super().__init__()
        self.save_hyperparameters()
        config = T5Config(
            vocab_size=len(WORDS),
            d_model=width,
            d_kv=width // 4,
            d_ff=2 * width,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
        self.t5 = T5ForConditionalGeneration(config)

    def training_step(self, batch, batch_idx):
        texts, summaries = (encoded(part).to(self.device) for part in batch)
        loss = self.t5(input_ids=texts, labels=summaries).loss
        self.log("train_loss", loss, on_epoch=True, prog_bar=True)
        return loss

    def predict_step(self, batch, batch_idx):
        texts, summaries = batch
        said = self.t5.generate(encoded(texts).to(self.device), max_new_tokens=5)
        rows = zip(texts, summaries, map(decoded, said), strict=True)
        return [{"text": text, "summary": right, "said": ours} for text, right, ours in rows]

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", default="summaries.jsonl")
    args = parser.parse_args()

    seed_everything(1)
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        logger=False,
        enable_checkpointing=False,
        callbacks=[PredictionWriter(args.output)],
    )
    model, data = Summariser(), Texts()
    trainer.fit(model, datamodule=data)
    rows = [row for batch in trainer.predict(model, datamodule=data) for row in batch]
    right = sum(row["said"] == row["summary"] for row in rows)
    if trainer.is_global_zero:
        print(f"{right} of {len(rows)} summaries are right, e.g. {rows[0]['said']!r}")


if __name__ == "__main__":
    main()
