"""The compiler comes late, and then is all there."""

from __future__ import annotations

import subprocess
import sys

PRELUDE = """
import sys
import torch
import engine
from engine.runtime.torch_internals.late_dynamo import StandIn

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
    lines = [line for line in done.stdout.splitlines() if "[Gloo]" not in line]  # so older torch
    return "\n".join(lines).strip()


def test_a_fit_imports_no_compiler() -> None:
    """Training with Adam imports nothing of the compiler."""
    program = """
fit(Model())
print(compiler(), sum(name.startswith("torch._dynamo.") for name in sys.modules))
"""

    assert run(program) == "StandIn 0"


USES = (
    "import torch._dynamo.config; torch._dynamo.config.cache_size_limit",
    "from torch._dynamo import explain",
    "torch._dynamo.reset()",
    "import torch._dynamo as d; d.reset()",
    "torch.compiler.reset()",
    "torch._dynamo.utils.counters",
    "torch._dynamo.trace_rules.check",
    "torch._dynamo.config.suppress_errors = False",
    "torch._dynamo.disable(recursive=False)",
)


def test_whatever_asks_for_the_compiler_gets_it() -> None:
    """Every way to reach the compiler after a fit is a way to the real one, and is taken."""
    program = f"""
import engine.runtime.torch_internals.late_dynamo as late
fit(Model())
late._refuses = True
for use in {USES!r}:
    try:
        exec(use)
        print(use)
    except late._WantedError:
        assert compiler() == "StandIn" and "torch._dynamo" in sys.modules
late._refuses = False
torch._dynamo.utils.counters
print(compiler())
"""

    assert run(program) == "module"


def test_a_torch_that_asks_for_more_is_noticed() -> None:
    """Whether the stand-in suffices is tried without the compiler's import, also when it fails."""
    program = """
import os
import engine.runtime.torch_internals.late_dynamo as late
if os.fork() == 0:
    late.StandIn.__init__ = lambda self: super(StandIn, self).__init__(late.NAME)
    assert late.suffices() is False
    os._exit(any(name.startswith("torch._dynamo.") for name in sys.modules))
print(os.wait()[1], late.suffices())
"""

    assert run(program) == "0 True"


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
