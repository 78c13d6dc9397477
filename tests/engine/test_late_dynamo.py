"""The compiler comes late, and then is all there."""

from __future__ import annotations

import subprocess
import sys

import pytest

PRELUDE = """
import sys
import torch
import engine
from engine.late_dynamo import StandIn

class Model(engine.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        return self.layer(batch).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

def fit(model, **more):
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                 enable_model_summary=False)
    data = torch.utils.data.DataLoader(torch.rand(8, 4))
    engine.Trainer(max_epochs=1, **quiet, **more).fit(model, data)

def compiler():
    return type(sys.modules["torch._dynamo"]).__name__
"""


def run(program: str) -> str:
    """Run a program in an interpreter of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PRELUDE + program],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_fit_imports_no_compiler() -> None:
    """Training with Adam imports nothing of the compiler."""
    program = """
fit(Model())
print(compiler(), sum(name.startswith("torch._dynamo.") for name in sys.modules))
"""

    assert run(program) == "StandIn 0"


@pytest.mark.parametrize(
    "use",
    [
        "import torch._dynamo.config; torch._dynamo.config.cache_size_limit",
        "from torch._dynamo import explain",
        "torch._dynamo.reset()",
        "import torch._dynamo as d; d.reset()",
        "torch.compiler.reset()",
    ],
)
def test_whatever_asks_for_the_compiler_gets_it(use: str) -> None:
    """Every way to reach the compiler after a fit reaches the real one."""
    assert run(f"fit(Model())\n{use}\nprint(compiler())") == "module"


def test_a_compiled_module_trains_after_a_plain_one() -> None:
    """torch.compile works after the stand-in was there, and the optimizers made before it too."""
    program = """
model = Model()
fit(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.zero_grad()
compiled = torch.compile(model.layer, backend="eager")
before = compiled(torch.ones(1, 4)).item()
compiled(torch.ones(1, 4)).sum().backward()
optimizer.step()
fit(model)
print(compiler(), compiled(torch.ones(1, 4)).item() != before)
"""

    assert run(program) == "module True"


def test_a_compiler_that_is_there_stays() -> None:
    """A program that has imported the compiler keeps it."""
    assert run("import torch._dynamo\nfit(Model())\nprint(compiler())") == "module"
