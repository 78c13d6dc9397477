"""Metrics to Neptune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.loggers.services.installed import ForeignLogger
from engine.runtime.storage.hparams_file import as_mapping, flat

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics


class NeptuneLogger(ForeignLogger):
    """Logs to a run of Neptune, below the name `prefix`.

    Further keyword arguments (`mode`, `tags`, `with_id`, ...) go to `neptune.init_run`.
    `project_name`, `experiment_name` and `offline_mode` are the names of 1.x.
    """

    library = "neptune"
    package = "neptune"
    separator = "/"

    def __init__(
        self,
        api_key: str | None = None,
        project: str | None = None,
        name: str | None = None,
        run: Any = None,
        prefix: str = "training",
        *,
        project_name: str | None = None,
        experiment_name: str | None = None,
        offline_mode: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(prefix)
        self._api_key = api_key
        self._project = project or project_name
        self._name = name or experiment_name
        self._options = {"mode": "offline", **options} if offline_mode else options
        self._run_id: str | None = None
        self._experiment = run

    @property
    def name(self) -> str | None:
        """The run's name."""
        return self._name

    @property
    def version(self) -> str | None:
        """Neptune's id of the run, once it is known."""
        return self._run_id

    @property
    def run(self) -> Any:
        """Neptune's run."""
        return self.experiment

    def _open(self) -> Any:
        import neptune

        options = dict(self._options)
        if self._run_id is not None:
            options["with_id"] = self._run_id
        if self._name is not None:
            options["name"] = self._name
        run = neptune.init_run(project=self._project, api_token=self._api_key, **options)
        if run.exists("sys/id"):  # offline there is none
            self._run_id = run["sys/id"].fetch()
        return run

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Append one set of values to their series."""
        run = self.experiment
        for name, value in self._named(metrics).items():
            run[name].append(value, step=step)

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Send the hyper-parameters."""
        run = self.experiment
        for name, value in self._named({"hyperparams": flat(as_mapping(params))}).items():
            run[name] = value

    def finalize(self, status: str) -> None:
        """Tell Neptune how the run ended; its own threads send on until the process ends."""
        if self._experiment is not None:
            for name, value in self._named({"status": status}).items():
                self._experiment[name] = value
