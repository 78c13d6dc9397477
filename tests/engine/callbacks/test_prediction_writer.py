"""Writing predictions: one file in the order of the data, from any number of ranks."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from engine.callbacks import BasePredictionWriter, PredictionWriter
from engine.callbacks.prediction_writer import joined, plain, samples
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet


class Says(Toy):
    """Predicts a record a sample."""

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return {"index": batch[2], "text": [f"é{i}" for i in batch[2].tolist()]}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_ranks_write_one_ordered_file(tmp_path, run_ranks):
    """S251: 23 samples in batches of 4 on 2 ranks: one file, in the order of the data, nothing
    twice, no part left behind; nothing is returned if that is not wanted."""
    found = run_ranks("""
import json, sys
from engine import Trainer
from engine.callbacks import PredictionWriter
from tests.engine.callbacks.test_prediction_writer import Says, loader
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=PredictionWriter("out/texts.jsonl"))
kept = trainer.predict(Says(), [loader(23), loader(3)], return_predictions=False)
json.dump(kept, open(sys.argv[1], "w"))
""")
    assert found == [None, None]
    wanted = [{"index": i, "text": f"é{i}"} for i in [*range(23), *range(3)]]
    assert lines(tmp_path / "out" / "texts.jsonl") == wanted
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["texts.jsonl"]


def test_a_broken_prediction_leaves_the_old_file(tmp_path):
    """S251: the file is there whole or not at all."""
    path = tmp_path / "a.jsonl"
    writer = PredictionWriter(path)
    quiet(tmp_path, callbacks=writer).predict(Says(), loader(5))
    assert len(lines(path)) == 5

    class Breaks(Says):
        def predict_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        quiet(tmp_path, callbacks=writer).predict(Breaks(), loader(9))
    assert len(lines(path)) == 5 and list(tmp_path.iterdir()) == [path]


def test_the_file_is_read_and_written_line_by_line():
    """S251: joining holds one line at a time, however long the parts are."""
    first = io.StringIO("0 2\na\nb\n0 1\ne\n1 1\nx\n")
    second = io.StringIO("0 2\nc\nd\n")
    stream = joined([first, second])
    assert next(stream) == "a\n" and first.tell() < 10
    assert [line.strip() for line in stream] == ["b", "c", "d", "e", "x"]


def test_what_a_sample_is():
    """S251: items of lists and tensors, rows of a dict; NaN has no word in JSON."""
    assert list(samples(torch.tensor([1, 2]))) == [1, 2]
    assert list(samples(["a", "b"])) == ["a", "b"]
    assert list(samples({"a": [1, 2], "b": np.array([3, 4])})) == [
        {"a": 1, "b": 3},
        {"a": 2, "b": 4},
    ]
    assert list(samples({"a": [1, 2], "b": 3})) == [{"a": [1, 2], "b": 3}]
    assert list(samples("text")) == ["text"] and list(samples(None)) == []
    value = {
        "a": torch.tensor([1.0, float("nan")]),
        2: (np.float32(0.5), {1}),
        "c": torch.device("cpu"),
    }
    assert plain(value) == {"a": [1.0, None], "2": [0.5, [1]], "c": "cpu"}
    with pytest.raises(MisconfigurationException, match="batch by batch"):
        PredictionWriter("a", "epoch")


def test_a_writer_of_ones_own(tmp_path):
    """It is handed each batch with its samples' places, or all of them at the end."""
    seen = []

    class Writer(BasePredictionWriter):
        def write_on_batch_end(
            self, trainer, module, prediction, indices, batch, batch_idx, dataloader_idx
        ):
            seen.append((batch_idx, prediction.tolist() == indices))

        def write_on_epoch_end(self, trainer, module, predictions, indices):
            seen.append((len(predictions[0]), indices[0][-1]))

    for returns in (True, False):
        seen.clear()
        trainer = quiet(tmp_path, callbacks=Writer("batch_and_epoch"))
        trainer.predict(Toy(), loader(6), return_predictions=returns)
        assert seen == [(0, True), (1, True), (2, [4, 5])]
    with pytest.raises(MisconfigurationException, match="write_interval"):
        Writer("step")
