"""A language model and its text, as the examples of 2.x take them."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from engine.runtime.errors import MisconfigurationException


class Transformer(torch.nn.Module):
    """Encoder and decoder over words: log probabilities of the next word at each place."""

    def __init__(
        self,
        vocab_size: int = 33278,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.ninp, self.vocab_size = ninp, vocab_size
        self.embedding = torch.nn.Embedding(vocab_size, ninp)
        self.dropout = torch.nn.Dropout(dropout)
        self.transformer = torch.nn.Transformer(
            ninp, nhead, nlayers, nlayers, nhid, dropout, batch_first=True
        )
        self.decoder = torch.nn.Linear(ninp, vocab_size)

    def forward(
        self, inputs: Tensor, target: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """One row for each word of each text."""
        target = inputs if target is None else target
        if mask is None:
            ones = torch.ones(target.size(1), target.size(1), device=target.device)
            mask = ones.triu(1).bool()
        decoded = self.transformer(self._embed(inputs), self._embed(target), tgt_mask=mask)
        return functional.log_softmax(self.decoder(decoded), dim=-1).view(-1, self.vocab_size)

    def _embed(self, words: Tensor) -> Tensor:
        embedded = self.embedding(words) * math.sqrt(self.ninp)
        place = _positions(words.size(1), self.ninp).to(embedded)
        shaken: Tensor = self.dropout(embedded + place)
        return shaken


def _positions(length: int, width: int) -> Tensor:
    """A wave for each number of a word: where it is in the text."""
    place = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    waves = torch.zeros(length, width)
    waves[:, 0::2] = torch.sin(place * rate)
    waves[:, 1::2] = torch.cos(place * rate)[:, : width // 2]
    return waves


class WikiText2(Dataset[tuple[Tensor, Tensor]]):
    """Pieces of a text, and each piece one word further; `data_dir` has wikitext-2.txt."""

    def __init__(
        self, data_dir: str | Path = "./data", block_size: int = 35, download: bool = True
    ) -> None:
        path = Path(data_dir, "wikitext-2.txt")
        if not path.exists():
            raise MisconfigurationException(
                f"WikiText2: {path.absolute()} is not there; put the text to learn from in it (the "
                "engine downloads nothing)"
            )
        words = [
            word for line in path.read_text().splitlines() for word in (*line.split(), "<eos>")
        ]
        self.dictionary = {word: index for index, word in enumerate(dict.fromkeys(words))}
        self.data = torch.tensor([self.dictionary[word] for word in words])
        self.block_size = block_size

    @property
    def vocab_size(self) -> int:
        """Number of different words."""
        return len(self.dictionary)

    def __len__(self) -> int:
        return len(self.data) // self.block_size - 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """A piece, and the same one word further."""
        start, end = index * self.block_size, (index + 1) * self.block_size
        return self.data[start:end], self.data[start + 1 : end + 1]
