"""Metrics to an MLflow server, or into a folder of MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from engine.loggers.services.installed import ForeignLogger
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.storage.hparams_file import as_mapping, flat

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics

MAX_VALUE_LENGTH = 250  # what the oldest servers in use accept
MAX_PARAMS_A_CALL = 100
_ENDS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED"}


class MLFlowLogger(ForeignLogger):
    """Logs to MLflow: to `tracking_uri` (or MLFLOW_TRACKING_URI), else into the folder `save_dir`.

    `experiment` is MLflow's client; `run_id` names the run that it logs to.

    Args:
        experiment_name: the experiment's name. By default `"lightning_logs"`.
        run_name: the run's name that the pages show. By default None: MLflow draws one.
        tracking_uri: the server, or the `file:` of a folder. By default the variable
            MLFLOW_TRACKING_URI, else `save_dir`.
        tags: values that the run gets by name. By default none.
        save_dir: the folder, where there is no server. By default `"./mlruns"`.
        prefix: text before each metric's name, with a hyphen in between. By default none.
        artifact_location: where a new experiment keeps files. By default MLflow's own place.
        run_id: the id of a run to go on with. By default None: a new one.

    Raises:
        ModuleNotFoundError: mlflow is not installed.
    """

    library = "mlflow"
    package = "mlflow"

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | os.PathLike[str] | None = "./mlruns",
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__(prefix)
        tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if tracking_uri is None:
            tracking_uri = Path(os.path.abspath(save_dir or "./mlruns")).as_uri()
        self._save_dir = _folder_of(tracking_uri)
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._tags = dict(tags or {})
        self._artifact_location = artifact_location
        self._run_id = run_id
        self._experiment_id: str | None = None
        self._params: dict[str, str] = {}
        self._renamed: set[str] = set()

    @property
    def name(self) -> str | None:
        """MLflow's number of the experiment."""
        return self.experiment_id

    @property
    def version(self) -> str | None:
        """MLflow's number of the run."""
        return self.run_id

    @property
    def save_dir(self) -> str | None:
        """The folder of the records, where it is no server that keeps them."""
        return self._save_dir

    @property
    def experiment_id(self) -> str | None:
        """MLflow's number of the experiment, which is begun if it is not yet."""
        _ = self.experiment
        return self._experiment_id

    @property
    def run_id(self) -> str | None:
        """MLflow's number of the run, which is begun if it is not yet."""
        _ = self.experiment
        return self._run_id

    def _open(self) -> Any:
        if self._save_dir is not None:
            # MLflow 3 refuses folders unless told; a folder is what was asked for.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self._tracking_uri)
        if self._run_id is None:
            self._experiment_id = self._experiment_of(client)
            tags = dict(self._tags)
            if self._run_name is not None:
                tags["mlflow.runName"] = self._run_name
            self._run_id = client.create_run(self._experiment_id, tags=tags).info.run_id
        else:
            run = client.get_run(self._run_id)
            self._experiment_id = run.info.experiment_id
            self._params = dict(run.data.params)
        return client

    def _experiment_of(self, client: Any) -> str:
        experiment = client.get_experiment_by_name(self._experiment_name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(
            client.create_experiment(
                self._experiment_name, artifact_location=self._artifact_location
            )
        )

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Send one set of values in one call."""
        from mlflow.entities import Metric

        client, now_ms = self.experiment, int(time.time() * 1000)
        values = {self._accepted(k): float(v) for k, v in self._named(metrics).items()}
        rows = [Metric(key, value, now_ms, step or 0) for key, value in values.items()]
        client.log_batch(self._run_id, metrics=rows)

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Send the hyper-parameters; MLflow keeps the first value of each for good."""
        from mlflow.entities import Param

        client = self.experiment
        texts = {
            self._accepted(key): _shortened(str(value))
            for key, value in flat(as_mapping(params)).items()
        }
        changed = sorted(k for k, v in texts.items() if self._params.get(k, v) != v)
        if changed:
            rank_zero_warn(
                f"MLflow does not change what a run has: {', '.join(changed)} stay as logged before"
            )
        new = [Param(key, text) for key, text in texts.items() if key not in self._params]
        for start in range(0, len(new), MAX_PARAMS_A_CALL):
            client.log_batch(self._run_id, params=new[start : start + MAX_PARAMS_A_CALL])
        self._params = {**texts, **self._params}

    def finalize(self, status: str) -> None:
        """Tell MLflow how the run ended."""
        if self._experiment is not None:
            self._experiment.set_terminated(self._run_id, _ENDS.get(status, "FINISHED"))

    def _accepted(self, key: str) -> str:
        """A name as MLflow accepts it."""
        name = re.sub(r"[^\w/. -]", "_", key, flags=re.ASCII)
        if name != key and key not in self._renamed:
            self._renamed.add(key)
            rank_zero_warn(f"MLflow does not accept the name {key!r}: it is logged as {name!r}")
        return name


def _folder_of(uri: str) -> str | None:
    """The folder that a tracking URI names; None where it names a server or a database."""
    is_path = ":" not in uri and not uri.startswith("databricks")
    if not is_path and not uri.startswith("file:"):
        return None
    return os.path.abspath(uri if is_path else url2pathname(urlparse(uri).path))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 3] + "..."
