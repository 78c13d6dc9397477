"""Tensors that stay behind when their module goes to a device."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torchmetrics

from engine.module.off_device import off_device_tensors, warn_of_off_device_tensors
from tests.engine.support.toy import Toy, loader, quiet


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale: torch.Tensor = torch.ones(3)  # LAYER
        self.temperature = torch.tensor(2.0)
        self.register_buffer("mean", torch.zeros(3))


class Forgets(Toy):
    prior: torch.Tensor = torch.ones(2)  # PRIOR

    def __init__(self):
        super().__init__()
        self.layer = Layer()
        self.first, self.mask = 1, torch.ones(4)  # MASK
        self.heads = [torch.nn.Linear(2, 1, bias=False)]  # HEADS
        self.by_name = {"a": [torch.ones(2)]}  # NAMED
        self.ordered = OrderedDict(a=torch.ones(2))  # ORDERED
        self._private = torch.ones(2)  # PRIVATE
        self.metric = torchmetrics.MeanMetric()  # which has private tensors of its own
        self.example_input_array = torch.ones(1, 4)
        self.save_hyperparameters({"weights": torch.ones(2)})


def line(mark):
    with open(__file__) as file:
        return 1 + next(i for i, text in enumerate(file) if text.endswith(f"# {mark}\n"))


def test_tensors_left_on_the_cpu_are_named():
    """S244: each by its attribute, file and line, with what to do; buffers, parameters and single
    numbers are no mistake, and on a CPU nothing is."""
    model = Forgets().to("meta")
    found = dict(off_device_tensors(model, torch.device("meta")))
    places = {path: place.rpartition("test_off_device.py:")[2] for path, place in found.items()}
    assert places == {
        "layer.scale": str(line("LAYER")),
        "mask": str(line("MASK")),
        "heads[0].weight": str(line("HEADS")),
        "by_name['a'][0]": str(line("NAMED")),
        "ordered['a']": str(line("ORDERED")),
        "_private": str(line("PRIVATE")),
        "prior": str(line("PRIOR")),
    }
    with pytest.warns(UserWarning, match=r"self\.mask, .*test_off_device\.py:\d+") as said:
        warn_of_off_device_tensors(model, torch.device("meta"))
    assert "register_buffer" in str(said[0].message)
    assert list(off_device_tensors(Forgets(), torch.device("cpu"))) == []


def test_classes_without_a_source_and_clean_models(recwarn):
    """S244: a class that was made by other means is named by its class; without such a tensor
    nothing is said."""
    made = type("Made", (torch.nn.Module,), {})()
    made.left = torch.ones(2)
    assert dict(off_device_tensors(made, torch.device("meta"))) == {"left": "an attribute of Made"}
    warn_of_off_device_tensors(Toy().to("meta"), torch.device("meta"))
    assert not recwarn


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_it_is_said_before_the_first_step(tmp_path):
    """S244: at the start of a fit on a GPU."""

    class Uses(Forgets):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.mask.sum()

    with pytest.warns(UserWarning, match=r"self\.mask"), pytest.raises(RuntimeError):
        quiet(tmp_path, accelerator="gpu", devices=1).fit(Uses(), loader(), loader())
