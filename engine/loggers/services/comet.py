"""Metrics to Comet, or into a folder to be uploaded later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from engine.loggers.services.installed import ForeignLogger
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.hparams_file import as_mapping, flat

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics


class CometLogger(ForeignLogger):
    """Logs to Comet: online with an API key (given, or in Comet's configuration), else offline.

    Offline, the records lie in `save_dir`; `comet upload` sends them. Further keyword arguments,
    such as `workspace`, go to Comet's experiment.
    """

    library = "comet_ml"
    package = "comet-ml"

    def __init__(
        self,
        api_key: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        rest_api_key: str | None = None,
        experiment_name: str | None = None,
        experiment_key: str | None = None,
        offline: bool = False,
        prefix: str = "",
        **options: Any,
    ) -> None:
        super().__init__(prefix)
        del rest_api_key  # Comet has one key for both today
        self._api_key = api_key or os.environ.get("COMET_API_KEY") or _configured_key()
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._project_name = project_name
        self._experiment_name = experiment_name
        self._experiment_key = experiment_key or os.environ.get("COMET_EXPERIMENT_KEY")
        self._options = options
        if self._save_dir is None and (offline or self._api_key is None):
            raise MisconfigurationException(
                "CometLogger: give an `api_key` (or set COMET_API_KEY) to log online, or a "
                "`save_dir` to log offline"
            )
        self._offline = offline or self._api_key is None

    @property
    def name(self) -> str:
        """The project's name."""
        return self._project_name or os.environ.get("COMET_PROJECT_NAME") or "comet-default"

    @property
    def version(self) -> str | None:
        """Comet's key of the run, once it is known."""
        return self._experiment_key

    @property
    def save_dir(self) -> str | None:
        """The folder of what is logged offline."""
        return self._save_dir

    def _open(self) -> Any:
        import comet_ml

        goes_on = self._experiment_key is not None
        options: dict[str, Any] = {"project_name": self._project_name, **self._options}
        if self._offline:
            kind = comet_ml.ExistingOfflineExperiment if goes_on else comet_ml.OfflineExperiment
            options["offline_directory"] = self._save_dir
        else:
            kind = comet_ml.ExistingExperiment if goes_on else comet_ml.Experiment
            options["api_key"] = self._api_key
        if goes_on:
            options["previous_experiment"] = self._experiment_key
        experiment = kind(**options)
        self._experiment_key = experiment.get_key()
        if self._experiment_name:
            experiment.set_name(self._experiment_name)
        return experiment

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Send one set of values."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        self.experiment.log_metrics(
            self._named(values), step=step, epoch=None if epoch is None else int(epoch)
        )

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Send the hyper-parameters, nested ones as `outer/inner`."""
        self.experiment.log_parameters(flat(as_mapping(params)))

    def finalize(self, status: str) -> None:
        """Close the run. What is logged later goes on with it."""
        if self._experiment is not None:
            self._experiment.log_other("status", status)
            self._experiment.end()
            self._experiment = None


def _configured_key() -> str | None:
    import comet_ml

    configured = getattr(comet_ml, "get_config", None)  # old versions have none
    key = None if configured is None else configured("comet.api_key")
    return None if key is None else str(key)
