"""ModelSummary: the table of a model's modules, and that looking at them changes nothing."""

import pytest
import torch
from torch import nn

from engine import MisconfigurationException
from engine.callbacks import ModelSummary
from engine.callbacks.monitors.summary import short_count, summarize
from engine.loggers import TensorBoardLogger
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, images):
        return self.head(self.body(images).mean(dim=(2, 3)))


def test_the_table_as_it_is_printed():
    """S034: names, types, parameters, and sizes that follow the example input, whose height and
    width need not be the data's."""
    net = Net()
    net.head.weight.requires_grad = False
    net.example_input_array = torch.zeros(5, 1, 8, 8)

    assert str(summarize(net)).splitlines() == [
        "   Name  Type        Params  In sizes      Out sizes",
        "-" * 55,
        "0  body  Sequential  48      [5, 1, 8, 8]  [5, 4, 6, 6]",
        "1  head  Linear      8       [5, 4]        [5, 2]",
        "-" * 55,
        "48 trainable, 8 frozen, 56 parameters in all, 0.000 MB",
    ]


@pytest.mark.parametrize("precision", [32, 64, "bf16-true"])
def test_a_fit_prints_the_sizes(tmp_path, capsys, precision):
    """S034: in any precision, of an example that is another size than the data; the logger draws
    the graph with it, too."""

    class Sized(Toy):
        def __init__(self):
            super().__init__()
            self.example_input_array = torch.zeros(7, 4)

        def loss(self, batch):
            return self(batch[0]).mean()

    logger = TensorBoardLogger(tmp_path, log_graph=True)
    options = {"enable_model_summary": True, "logger": logger, "precision": precision}
    quiet(tmp_path, **options).fit(Sized(), loader(8), loader(8))
    said = capsys.readouterr().err
    assert "In sizes  Out sizes" in said and "[7, 4]    [7, 2]" in said


def test_an_example_that_does_not_fit_is_named(tmp_path):
    """S034: the error says what runs through the model there, and how to do without."""
    model = Toy()
    model.example_input_array = torch.zeros(1, 5)
    with pytest.raises(MisconfigurationException, match=r"`example_input_array`.*shapes"):
        quiet(tmp_path, enable_model_summary=True).fit(model, loader())


def test_depth():
    """1 is the model's own attributes, -1 everything, 0 only the sums; by name in 1.x."""
    names = {depth: [row.name for row in summarize(Net(), depth).rows] for depth in (0, 1, 2, -1)}

    assert names[0] == []
    assert names[1] == ["body", "head"]
    assert names[2] == names[-1] == ["body", "body.0", "body.1", "body.2", "head"]
    assert ModelSummary("top").max_depth == 1
    assert ModelSummary("full").max_depth == -1
    with pytest.raises(ValueError, match="top"):
        ModelSummary("all")


def test_following_the_sizes_leaves_no_trace():
    """Modes, running statistics, random state and gradients are as before."""
    net = Net()
    net.body[2].eval()
    net.example_input_array = torch.randn(5, 1, 8, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random_state = torch.get_rng_state()

    summarize(net, -1)

    modules = (net, net.body, net.body[2], net.head)
    assert [module.training for module in modules] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert net.head.weight.grad is None
    assert not net.head._forward_hooks


def test_a_shared_parameter_counts_once_in_the_sum():
    """Tied weights stand in each module's row but not twice in the sum."""
    net = nn.Module()
    net.encoder, net.decoder = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
    net.decoder.weight = net.encoder.weight

    summary = summarize(net)

    assert [row.num_params for row in summary.rows] == [100, 100]
    assert summary.num_params == 100


@pytest.mark.parametrize(
    ("example", "forward"),
    [
        ((torch.zeros(2, 3), torch.zeros(2, 3)), lambda self, a, b: self.layer(a + b)),
        ({"a": torch.zeros(2, 3)}, lambda self, a: self.layer(a)),
        ([torch.zeros(2, 3)], lambda self, items: self.layer(items[0])),
    ],
)
def test_forms_of_example_inputs(example, forward):
    """A tuple is spread over the arguments, a dict over names; anything else is one argument."""
    net = type("Form", (nn.Module,), {"forward": forward})()
    net.layer = nn.Linear(3, 4)
    net.example_input_array = example

    [row] = summarize(net).rows

    assert (row.in_size, row.out_size) == ("[2, 3]", "[2, 4]")


def test_counts_a_person_can_read():
    """Three digits and a unit."""
    counts = [short_count(n) for n in (0, 999, 1000, 1_234_567, 7_000_000_000)]

    assert counts == ["0", "999", "1.0 K", "1.2 M", "7.0 B"]


def test_lazy_parameters_are_not_counted_yet():
    """A lazy layer has no size before its first input; the summary says so instead of failing."""
    assert summarize(nn.Sequential(nn.LazyLinear(3))).num_params == 0
