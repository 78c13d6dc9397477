"""Loggers of other services: what is said without their library, and what they are told with it."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import engine.loggers
from engine import MisconfigurationException
from engine.callbacks import ModelCheckpoint
from engine.loggers import (
    CometLogger,
    CSVLogger,
    Logger,
    LoggerCollection,
    MemoryLogger,
    MLFlowLogger,
    NeptuneLogger,
    TensorBoardLogger,
    WandbLogger,
)
from engine.loggers.dummy import Silent
from tests.engine.support.foreign_fakes import Noted, install
from tests.engine.support.toy import Toy, loader, quiet

FOREIGN = {
    "CometLogger": "comet-ml",
    "MLFlowLogger": "mlflow",
    "NeptuneLogger": "neptune",
    "WandbLogger": "wandb",
}
VALUES = {"loss": 0.5, "epoch": 1.0}
HPARAMS = {"lr": 0.1, "net": {"width": 3}}


@pytest.fixture
def comet(monkeypatch):
    noted = Noted(get_key=lambda: "key-1")

    def kind(name):
        def make(**options):
            noted.calls.append((name, (), options))
            return noted

        return make

    kinds = ("Experiment", "OfflineExperiment", "ExistingExperiment", "ExistingOfflineExperiment")
    for variable in ("COMET_API_KEY", "COMET_EXPERIMENT_KEY", "COMET_PROJECT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    install(
        monkeypatch,
        "comet_ml",
        get_config=lambda name: None,
        **{name: kind(name) for name in kinds},
    )
    return noted


@pytest.fixture
def mlflow(monkeypatch):
    noted = Noted(
        get_experiment_by_name=lambda name: None,
        create_experiment=lambda name, artifact_location: "7",
        create_run=lambda number, tags: SimpleNamespace(
            info=SimpleNamespace(run_id="run-1", tags=tags, experiment_id=number)
        ),
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    install(monkeypatch, "mlflow")
    client = {"MlflowClient": lambda uri: noted.__dict__.update(uri=uri) or noted}
    install(monkeypatch, "mlflow.tracking", **client)
    install(monkeypatch, "mlflow.entities", Metric=lambda *a: a, Param=lambda *a: a)
    return noted


@pytest.fixture
def neptune(monkeypatch):
    noted = Noted(exists=lambda name: False)
    install(
        monkeypatch,
        "neptune",
        init_run=lambda **options: noted.calls.append(("init_run", (), options)) or noted,
    )
    return noted


@pytest.fixture
def wandb(monkeypatch):
    noted = Noted(id="run-1", project="uncategorized")
    install(
        monkeypatch,
        "wandb",
        run=None,
        init=lambda **options: noted.calls.append(("init", (), options)) or noted,
        Image=lambda image, **options: (image, options),
        Table=lambda **options: options,
    )
    return noted


@pytest.mark.parametrize(("name", "package"), FOREIGN.items())
def test_a_missing_library_is_named_with_how_to_get_it(monkeypatch, name, package):
    """S005, S224: the namespace has every name; making a logger says what to install."""
    kind = getattr(engine.loggers, name)
    assert issubclass(kind, Logger)

    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, kind.library, raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == kind.library else find(n, *a)
    )
    with pytest.raises(ModuleNotFoundError, match=f"{name} needs .*pip install {package}"):
        kind(save_dir="logs/")


def test_the_namespace_imports_none_of_them():
    """S005: `from engine.loggers import *` succeeds with none of the libraries imported."""
    code = (
        "import sys\nfrom engine.loggers import *\n"
        "assert TestTubeLogger and CometLogger and MLFlowLogger and NeptuneLogger and WandbLogger\n"
        "print(*({'comet_ml', 'mlflow', 'neptune', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == []


def test_comet_offline_and_online(comet, monkeypatch):
    """S224, S274: save_dir alone is offline, an API key is online, neither is said."""
    logger = CometLogger(save_dir="logs/", workspace="team", experiment_name="first")
    assert (logger.name, logger.version, logger.save_dir) == ("comet-default", None, "logs/")
    logger.log_hyperparams(HPARAMS)
    logger.log_metrics(VALUES, 3)
    options = {"project_name": None, "workspace": "team", "offline_directory": "logs/"}
    assert comet.of("OfflineExperiment") == [((), options)]
    assert comet.of("set_name") == [(("first",), {})]
    assert comet.of("log_parameters") == [(({"lr": 0.1, "net/width": 3},), {})]
    assert comet.of("log_metrics") == [(({"loss": 0.5},), {"step": 3, "epoch": 1})]
    assert logger.version == "key-1"

    logger.finalize("success")
    logger.log_metrics({"test": 1.0})
    assert comet.of("end") == [((), {})]
    assert comet.of("ExistingOfflineExperiment")[0][1]["previous_experiment"] == "key-1"

    online = CometLogger(api_key="secret", project_name="p")
    assert online.experiment is comet
    assert comet.of("Experiment") == [((), {"project_name": "p", "api_key": "secret"})]
    for wrong in ({}, {"offline": True, "api_key": "secret"}):
        with pytest.raises(MisconfigurationException, match="COMET_API_KEY"):
            CometLogger(**wrong)
    monkeypatch.setenv("COMET_API_KEY", "secret")
    assert CometLogger().experiment is comet
    monkeypatch.delenv("COMET_API_KEY")
    monkeypatch.delattr("comet_ml.get_config")  # as in old versions of it
    assert CometLogger(save_dir="logs/").experiment is comet


def test_mlflow(mlflow, tmp_path):
    """S226: metrics and parameters go in one call each, and the run's end is told."""
    logger = MLFlowLogger("exp", run_name="first", save_dir=tmp_path, prefix="a")
    logger.log_hyperparams(HPARAMS)
    logger.log_metrics(VALUES, 3)
    logger.finalize("failed")

    assert (logger.name, logger.version, logger.save_dir) == ("7", "run-1", str(tmp_path))
    assert mlflow.uri == tmp_path.as_uri()
    (_, params), (_, metrics) = mlflow.of("log_batch")
    assert params == {"params": [("lr", "0.1"), ("net/width", "3")]}
    assert [(key, value, step) for key, value, _, step in metrics["metrics"]] == [
        ("a-loss", 0.5, 3),
        ("a-epoch", 1.0, 3),
    ]
    assert mlflow.of("set_terminated") == [(("run-1", "FAILED"), {})]


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:./ml-runs", "ml-runs"),
        ("ml-runs", "ml-runs"),
        ("file:///a/b", "/a/b"),
        ("http://there", None),
        ("sqlite:///a.db", None),
        ("databricks", None),
    ],
)
def test_mlflow_is_told_where(mlflow, tmp_path, monkeypatch, uri, folder):
    """S226: a folder may be given as its tracking URI; MLflow 3 refuses folders unless told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")  # so that it is as before in the end
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    logger = MLFlowLogger(tracking_uri=uri)
    logger.log_metrics(VALUES, 3)
    assert mlflow.uri == uri
    assert logger.save_dir == (None if folder is None else str(tmp_path / folder))
    assert ("MLFLOW_ALLOW_FILE_STORE" in os.environ) == (folder is not None)


def test_mlflow_keeps_the_first_value_of_a_parameter(mlflow):
    """S226: a changed parameter, which MLflow refuses, and a strange name don't end the run."""
    logger = MLFlowLogger(tracking_uri="http://there")
    logger.log_hyperparams({"lr": 0.1, "text": "x" * 999})
    with pytest.warns(UserWarning, match="lr stay as logged before"):
        logger.log_hyperparams({"lr": 0.2, "more": 1})
    with pytest.warns(UserWarning, match="logged as 'loss_a_'"):
        logger.log_metrics({"loss(a)": 1.0})
    logger.log_metrics({"loss(a)": 1.0})

    first, second = (options["params"] for _, options in mlflow.of("log_batch")[:2])
    assert first[0] == ("lr", "0.1")
    assert len(first[1][1]) == 250
    assert second == [("more", "1")]


def test_neptune(neptune):
    """S226: series and parameters below the prefix; names of 1.x mean the same."""
    logger = NeptuneLogger(
        api_key="secret", project_name="team/p", experiment_name="first", offline_mode=True
    )
    logger.log_hyperparams(HPARAMS)
    logger.log_metrics(VALUES, 3)
    logger.finalize("success")

    (_, options) = neptune.of("init_run")[0]
    assert options == {
        "project": "team/p",
        "api_token": "secret",
        "mode": "offline",
        "name": "first",
    }
    assert neptune.calls[1:] == [
        ("[training/hyperparams] =", ({"lr": 0.1, "net/width": 3},), {}),
        ("[training/loss].append", (0.5,), {"step": 3}),
        ("[training/epoch].append", (1.0,), {"step": 3}),
        ("[training/status] =", ("success",), {}),
    ]
    assert NeptuneLogger(run=neptune).run is neptune


def test_wandb(wandb, tmp_path):
    """S226: the step is a value of its own, so that several loggers of a process agree."""
    logger = WandbLogger("first", tmp_path, offline=True, project="p", tags=["x"])
    logger.log_hyperparams(HPARAMS)
    logger.log_metrics(VALUES, 3)
    logger.log_image("seen", ["i", "j"], step=4, caption=["one", "two"])
    logger.log_text("words", columns=["a"], data=[["b"]])
    logger.watch("model", log="all")
    logger.finalize("success")

    assert wandb.of("init") == [
        (
            (),
            {
                "project": "p",
                "dir": str(tmp_path),
                "id": None,
                "resume": "allow",
                "tags": ["x"],
                "name": "first",
                "mode": "offline",
            },
        )
    ]
    assert wandb.of("config.update") == [((HPARAMS,), {"allow_val_change": True})]
    pictures = [("i", {"caption": "one"}), ("j", {"caption": "two"})]
    table = {"columns": ["a"], "data": [["b"]], "dataframe": None}
    assert [args[0] for args, _ in wandb.of("log")] == [
        {**VALUES, "trainer/global_step": 3},
        {"seen": pictures, "trainer/global_step": 4},
        {"words": table},
    ]
    assert wandb.of("watch") == [(("model",), {"log": "all", "log_freq": 100})]
    assert (logger.name, logger.version) == ("p", "run-1")
    for log_model, told in ((True, "offline"), ("some", "'all'")):
        with pytest.raises(MisconfigurationException, match=told):
            WandbLogger(log_model=log_model, offline=True)


def test_a_fit_logs_to_all_of_them(comet, mlflow, neptune, wandb, tmp_path):
    """S226, S228: every logger of a list gets the very same metrics at the same steps."""
    memory = MemoryLogger()
    loggers = [
        CometLogger(save_dir=tmp_path),
        MLFlowLogger(save_dir=tmp_path),
        NeptuneLogger(prefix=""),
        WandbLogger(),
        memory,
    ]
    trainer = quiet(tmp_path, logger=loggers, log_every_n_steps=1)
    trainer.fit(Toy(), loader(), loader())

    rows = [(step, values) for step, values in memory.rows]
    assert rows
    got = [({**args[0], "epoch": o["epoch"]}, o["step"]) for args, o in comet.of("log_metrics")]
    assert [(step, values) for values, step in got] == rows
    batches = [o["metrics"] for _, o in mlflow.of("log_batch") if "metrics" in o]
    assert [(b[0][3], {key: value for key, value, *_ in b}) for b in batches] == rows
    logged = [dict(args[0]) for args, _ in wandb.of("log")]
    assert [(values.pop("trainer/global_step"), values) for values in logged] == rows
    appended = [o["step"] for args, o in neptune.of("[train_loss_step].append")]
    assert appended == [step for step, values in rows if "train_loss_step" in values]
    assert wandb.of("init")[0][1]["dir"].rstrip("/") == str(tmp_path)


def test_checkpoints_lie_with_the_logger_that_has_a_folder(wandb, tmp_path):
    """S243: a service's logger before one with a folder does not take the checkpoints elsewhere."""
    loggers = [WandbLogger(), CSVLogger()]
    trainer = quiet(tmp_path, logger=loggers, enable_checkpointing=True)
    trainer.fit(Toy(), loader(), loader())

    folder = tmp_path / "lightning_logs" / "version_0"
    assert trainer.log_dir == str(folder)
    assert list(folder.glob("checkpoints/*.ckpt"))


def test_checkpoints_lie_apart_by_the_names_of_a_service(wandb, comet, tmp_path):
    """S243: where only services log, each run's checkpoints have a folder of the name that the
    first service knows it by, so that runs do not mix; a `dirpath` counts before."""
    places = []
    for number in (1, 2):
        wandb.id = f"run-{number}"
        loggers = [WandbLogger(project="p"), CometLogger(save_dir=tmp_path / "comet")]
        trainer = quiet(tmp_path, logger=loggers, enable_checkpointing=True)
        trainer.fit(Toy(), loader(), loader())
        places.append(Path(trainer.checkpoint_callback.best_model_path).parent)
    assert places == [tmp_path / "p" / f"run-{n}" / "checkpoints" for n in (1, 2)]
    assert len(wandb.of("init")) == 2  # a run is opened once

    keeps = {"callbacks": ModelCheckpoint(dirpath=tmp_path / "here"), "enable_checkpointing": True}
    quiet(tmp_path, logger=WandbLogger(), **keeps).fit(Toy(), loader(), loader())
    assert Path(keeps["callbacks"].best_model_path).parent == tmp_path / "here"


def test_several_loggers_are_one_as_in_1_x(wandb, tmp_path):
    """S228, S275: of a list of loggers the first stands for all: by numbers, as a collection, and
    its experiment for theirs; nothing is between a logger that is given alone and its own."""
    seen = []

    class Draws(Toy):
        def training_step(self, batch, batch_idx):
            board, service = self.logger.experiment[0], self.logger.experiment[-1]
            board.add_image("noise", batch[0].view(1, 4, -1), batch_idx)
            service.log({"batch": batch_idx})
            self.logger.experiment.add_scalar("x", 1.0, batch_idx)
            seen.append(isinstance(self.logger.experiment, SummaryWriter))
            seen.append(isinstance(self.logger, LoggerCollection))
            return super().training_step(batch, batch_idx)

    given = LoggerCollection([TensorBoardLogger(tmp_path), WandbLogger()])
    trainer = quiet(tmp_path, logger=given, limit_train_batches=2)
    trainer.fit(Draws(), loader(), loader())
    assert seen == [True] * 4
    assert [args[0] for args, _ in wandb.of("log")][:2] == [{"batch": 0}, {"batch": 1}]
    assert trainer.logger is given[0] and not isinstance(given[1], LoggerCollection)
    assert list(trainer.logger) == given and len(trainer.logger.experiment) == 2

    events = EventAccumulator(trainer.logger.log_dir)
    events.Reload()
    assert events.Tags()["images"] == ["noise"] and len(events.Scalars("x")) == 2

    service = WandbLogger()
    alone = quiet(tmp_path, logger=[service])
    assert alone.logger.experiment[0] is wandb and isinstance(alone.logger, LoggerCollection)
    alone.logger.experiment.config["x"] = 1  # what is set is set in the service's own
    alone.logger.experiment.note = "first"
    assert wandb.note == "first" and wandb.of("config[x] =") == [((1,), {})]
    assert quiet(tmp_path, logger=service).logger.experiment is wandb
    assert not isinstance(service, LoggerCollection)


def test_other_ranks_open_no_run(wandb, monkeypatch):
    """S079: experiment is safe to use on every rank, and only rank zero has a run."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    logger = WandbLogger()
    logger.log_metrics(VALUES, 0)
    logger.experiment.config["x"] = 1

    assert isinstance(logger.experiment, Silent)
    assert wandb.calls == []


def test_a_logger_travels_to_another_process(wandb):
    """A logger that is pickled leaves its connection behind, and goes on with the same run."""
    logger = WandbLogger()
    logger.log_metrics(VALUES, 0)
    copy = pickle.loads(pickle.dumps(logger))
    copy.log_metrics(VALUES, 1)

    assert [options["id"] for _, options in wandb.of("init")] == [None, "run-1"]
