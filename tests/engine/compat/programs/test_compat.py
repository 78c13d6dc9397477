"""Old names: imports of pytorch_lightning find the engine, in this process only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.support.compat_runs import found_by, real_one, run


def test_names_are_the_engines_own(tmp_path: Path) -> None:
    """S001, S002, S003, S004, S007, S008, S216: by any of their paths they are one class."""
    found = found_by(
        """
import engine, engine.callbacks, engine.loggers
import lightning.pytorch, pl_bolts.callbacks, pytorch_lightning as pl
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.callbacks import LearningRateLogger
from pytorch_lightning.core import LightningModule as Core
from pytorch_lightning.core.lightning import LightningModule as Deep
print(json.dumps([
    pl.Trainer is engine.Trainer is Trainer is lightning.pytorch.Trainer,
    pl.LightningModule is engine.LightningModule is LightningModule is Core is Deep,
    pl.LightningDataModule is engine.LightningDataModule,
    pl.seed_everything is engine.seed_everything,
    all(issubclass(one, pl.Callback) for one in (EarlyStopping, LearningRateMonitor)),
    issubclass(ModelCheckpoint, engine.Callback) and LearningRateLogger is LearningRateMonitor,
    pl_bolts.callbacks.PrintTableMetricsCallback is engine.callbacks.PrintTableMetricsCallback,
    engine.LightningCallback is engine.Callback is pl.Callback,
    pl.loggers.base.LightningLoggerBase is engine.loggers.Logger,
    isinstance(pl.Trainer(logger=False), engine.Trainer),
    pl.Trainer.__module__.startswith("engine."),
    pl.__version__ < "1.6" < lightning.__version__,
]))
""",
        tmp_path,
    )

    assert found == [True] * 12


def test_logger_names_wait_for_their_libraries(tmp_path: Path) -> None:
    """S005: they are there without comet, neptune and test-tube; making one says what to do."""
    found = found_by(
        """
import sys
from pytorch_lightning.loggers import (
    CometLogger, CSVLogger, MLFlowLogger, NeptuneLogger, TensorBoardLogger, TestTubeLogger
)
said = []
for logger in (CometLogger, MLFlowLogger, NeptuneLogger):
    try:
        logger()
    except ModuleNotFoundError as error:
        said.append("pip install" in str(error))
TestTubeLogger("logs", name="default")
print(json.dumps([said, "test_tube" in sys.modules]))
""",
        tmp_path,
    )

    assert found == [[True] * 3, False]


def test_functional_metrics_are_those_of_before_1_5(tmp_path: Path) -> None:
    """S006, C7: FM.accuracy takes scores (N, C) with classes (N) and equals sklearn's."""
    found = found_by(
        """
import torch
from pytorch_lightning.metrics import functional as FM
from sklearn.metrics import accuracy_score
scores = torch.randn(97, 5, generator=torch.Generator().manual_seed(0))
target = torch.randint(5, (97,), generator=torch.Generator().manual_seed(1))
print(json.dumps([float(FM.accuracy(scores, target)), accuracy_score(target, scores.argmax(1))]))
""",
        tmp_path,
    )

    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_missing_name_is_an_import_error_with_a_sentence(tmp_path: Path) -> None:
    """S246: what is not there, and the nearest name or place."""
    statements = {
        "from pytorch_lightning.callbacks import EarlyStoping": "did you mean 'EarlyStopping'?",
        "from pytorch_lightning.core import TensorBoardLogger": "it is in pytorch_lightning.logg",
        "import pytorch_lightning.trainer.nothing_like_it": "the engine has nothing of this name",
        "from pl_bolts.models import VAE": "pl_bolts has no 'models' here",
    }
    found = found_by(
        f"""
said = []
for statement in {list(statements)}:
    try:
        exec(statement)
    except ImportError as error:
        said.append(str(error))
print(json.dumps(said))
""",
        tmp_path,
    )

    assert len(found) == len(statements)
    for sentence, says in zip(found, statements.values(), strict=True):
        assert says in sentence
        assert "here, where the engine stands in for Lightning" in sentence


def test_what_the_engine_does_not_do_can_be_imported_and_says_so(tmp_path: Path) -> None:
    """A program that imports it at its head for one case only still runs in the others."""
    found = found_by(
        """
from lightning.fabric import Fabric
from pytorch_lightning import EvalResult
from pytorch_lightning.plugins import HorovodPlugin
from pytorch_lightning.loops import FitLoop
from pytorch_lightning.utilities import MisconfigurationException
class Mine(Fabric):
    pass
said = []
for make in (Mine, EvalResult, HorovodPlugin, FitLoop):
    try:
        make()
    except MisconfigurationException as error:
        said.append(str(error))
print(json.dumps(said))
""",
        tmp_path,
    )

    assert [said.split()[0] for said in found] == [
        "Fabric", "EvalResult", "HorovodPlugin", "FitLoop",
    ]  # fmt: skip
    assert "use LightningLite" in found[0] and "self.log" in found[1]
    assert "step by hand" in found[3]


def test_small_things_of_old_programs(tmp_path: Path) -> None:
    """Words, flags and functions that are imported one by one do what they did."""
    found = found_by(
        """
import os, torch
import pytorch_lightning as pl
from argparse import Namespace
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities import AttributeDict, DistributedType, grad_norm
from pytorch_lightning.utilities import _APEX_AVAILABLE, _OMEGACONF_AVAILABLE, rank_zero_only
from pytorch_lightning.utilities.apply_func import apply_to_collection
from pytorch_lightning.utilities.imports import _TORCH_GREATER_EQUAL_1_7
from pytorch_lightning.utilities.model_summary import ModelSummary
from pytorch_lightning.utilities.parsing import lightning_hasattr, str_to_bool
from pytorch_lightning.utilities.seed import isolate_rng, seed_everything
layer = torch.nn.Linear(2, 1)
layer(torch.ones(1, 2)).sum().backward()
seed_everything(3, verbose=False)
with isolate_rng():
    inside = torch.rand(1)
doubled = apply_to_collection({"a": [1, "x"], "b": (2,)}, int, lambda n: 2 * n)
kept = pl.utilities.apply_func.apply_to_collection([1, None, 2], int, str, include_none=False)
rank_zero_only.rank = 1
silent = rank_zero_only(lambda: 1)()
print(json.dumps([
    DistributedType.DDP == "ddp" == DistributedType("ddp"), RunningStage.TRAINING == "train",
    TrainerFn.FITTING.value, AttributeDict(a=1).a,
    round(float(grad_norm(layer, 2)["grad_2.0_norm_total"]), 4),
    _APEX_AVAILABLE, isinstance(_OMEGACONF_AVAILABLE, bool), _TORCH_GREATER_EQUAL_1_7,
    ModelSummary(layer).total_parameters, str_to_bool("yes"), lightning_hasattr(layer, "bias"),
    bool(torch.rand(1) == inside), doubled, kept, silent,
]))
""",
        tmp_path,
    )

    assert found == [
        True, True, "fit", 1, 1.7321, False, True, True, 3, True, True, True,
        {"a": [2, "x"], "b": [4]}, ["1", "2"], None,
    ]  # fmt: skip


def test_a_lightning_that_is_imported_already_is_an_error(tmp_path: Path) -> None:
    """Two of them in one process could only confuse: it says so, and from where it came."""
    package = tmp_path / "pytorch_lightning"
    package.mkdir()
    (package / "__init__.py").write_text("")

    done = run(
        ["-c", "import pytorch_lightning, engine.compat; engine.compat.install()"],
        tmp_path,
        path=tmp_path,
    )

    assert f"has been imported already, from {package / '__init__.py'}" in done.stderr
    assert "before the first import of it" in done.stderr


def test_whoever_asks_what_is_installed_is_not_misled(tmp_path: Path) -> None:
    """Programs and libraries look for Lightning's spec and version; nothing heavy is imported."""
    found = found_by(
        """
import importlib.util, sys
from importlib.metadata import PackageNotFoundError, distributions, version
spec = importlib.util.find_spec("pytorch_lightning")
known = [version("pytorch_lightning"), version("pytorch-lightning"), version("lightning")]
try:
    known.append(version("pl_bolts"))
except PackageNotFoundError:
    known.append(None)
known.append("pytorch_lightning" in {one.metadata["Name"] for one in distributions()})
light = "torch" not in sys.modules
import torchmetrics
from lightning_utilities.core.imports import RequirementCache, module_available
import pytorch_lightning
again = importlib.util.find_spec("pytorch_lightning.callbacks")
print(json.dumps([
    spec.origin, known, light, module_available("pytorch_lightning.callbacks"), again.name,
    str(RequirementCache("pytorch_lightning>=9")) != "", "Trainer" in dir(pytorch_lightning),
    hasattr(pytorch_lightning, "no_such_name"),
]))
""",
        tmp_path,
        path=real_one(tmp_path),
        fresh=True,
    )

    assert found == [
        "engine.compat", ["1.5.10", "1.5.10", "2.0.0", None, False], True, True,
        "pytorch_lightning.callbacks", True, True, False,
    ]  # fmt: skip


def test_a_package_of_ones_own_called_lightning_wins(tmp_path: Path) -> None:
    """Only who asks for `lightning` itself takes that name from it."""
    (tmp_path / "lightning.py").write_text("mine = True\n")
    code = "import lightning\nprint(json.dumps(hasattr(lightning, 'mine')))"

    asked = [found_by(code, tmp_path, name, path=tmp_path) for name in
             ("pytorch_lightning", "lightning")]  # fmt: skip

    assert asked == [True, False]


def test_old_pickles_find_the_classes(tmp_path: Path) -> None:
    """A checkpoint of Lightning names its classes by their old paths."""
    found = found_by(
        """
import pickle
text = b"cpytorch_lightning.callbacks.model_checkpoint\\nModelCheckpoint\\n."
made = pickle.loads(text)
print(json.dumps([made.__module__, pickle.dumps(made).count(b"pytorch_lightning")]))
""",
        tmp_path,
    )

    assert found == ["engine.callbacks.checkpoint.model_checkpoint", 0]


def test_an_installed_pl_bolts_is_a_program_as_others(tmp_path: Path) -> None:
    """Its own modules are imported, and they find the engine where they import Lightning."""
    package = tmp_path / "installed" / "pl_bolts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(
        "import pytorch_lightning as pl\nclass VAE(pl.LightningModule): pass\n"
    )

    found = found_by(
        "import engine\nfrom pl_bolts.models import VAE\n"
        "print(json.dumps(issubclass(VAE, engine.LightningModule)))",
        tmp_path,
        path=package.parent,
    )

    assert found is True
