"""Metrics to Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.loggers.services.installed import ForeignLogger
from engine.runtime.distributed.world import on_rank_zero
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.files import make_folder
from engine.runtime.storage.hparams_file import as_mapping, plain

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics

STEP = "trainer/global_step"


class WandbLogger(ForeignLogger):
    """Logs to a run of Weights & Biases, or with `offline=True` into the folder `save_dir`.

    Without `save_dir` it writes where the run's other files go. Further keyword arguments go to
    `wandb.init`. The run ends with the process, so that fit and test are in one.

    `log_model=True` uploads the checkpoints that are kept when the fit ends, "all" each one when it
    is saved; as the artifact `model-ID`, whose newest and best versions have these names.

    Args:
        name: the run's name that the pages show. By default None: wandb draws one.
        save_dir: the folder of wandb's files. By default None: where the run's other files go.
        offline: whether nothing is sent; `wandb sync` does it later. By default False.
        id: the run's id, to go on with an earlier one. By default None: a new one.
        anonymous: whether runs need no account. By default None: no.
        version: another name of `id`.
        project: the project of the run. By default None: wandb's setting.
        log_model: whether checkpoints are uploaded: True when the fit ends, `"all"` each when it is
            saved. By default False.
        experiment: a run that `wandb.init` has returned already. By default None.
        prefix: text before each metric's name, with a hyphen in between. By default none.
        options: further arguments of `wandb.init`.

    Raises:
        MisconfigurationException: `log_model` has no meaning, or is given with `offline`.
        ModuleNotFoundError: wandb is not installed.
    """

    library = "wandb"
    package = "wandb"

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of Lightning, in its order
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        offline: bool = False,
        id: str | None = None,
        anonymous: bool | None = None,
        version: str | None = None,
        project: str | None = None,
        log_model: bool | str = False,
        experiment: Any = None,
        prefix: str = "",
        **options: Any,
    ) -> None:
        super().__init__(prefix)
        if log_model not in (True, False, "all"):
            raise MisconfigurationException(
                f"WandbLogger(log_model={log_model!r}): give True, False or 'all'"
            )
        if log_model and offline:
            raise MisconfigurationException(
                f"WandbLogger(offline=True, log_model={log_model!r}): nothing can be uploaded "
                "offline; give one of the two"
            )
        self._log_model = log_model
        self._checkpoints: Any = None  # the callback that saves them
        self._sent: dict[str, float] = {}  # checkpoints that were uploaded, and of which time
        self._save_dir = os.fspath(save_dir or options.pop("dir", None) or "") or None
        self._save_dir_was_given = self._save_dir is not None
        self._project = project
        self._id = version or id
        self._options: dict[str, Any] = {"resume": "allow", **options}
        if name is not None:
            self._options["name"] = name
        if offline:
            self._options["mode"] = "offline"
        if anonymous:
            self._options["anonymous"] = "allow"
        self._experiment = experiment

    @property
    def name(self) -> str | None:
        """The project's name."""
        return self._project

    @property
    def version(self) -> str | None:
        """The run's id, once it is known."""
        return self._id

    @property
    def save_dir(self) -> str | None:
        """The folder that `wandb` is in."""
        return self._save_dir

    def set_root(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """Write where the trainer writes, unless a `save_dir` was given."""
        if not self._save_dir_was_given:
            self._save_dir = os.path.join(os.fspath(root), version or "")

    def _open(self) -> Any:
        import wandb

        run = wandb.run  # one that the program itself began
        if run is None:
            if self._save_dir is not None:
                make_folder(self._save_dir)
            run = wandb.init(
                project=self._project, dir=self._save_dir, id=self._id, **self._options
            )
        self._id = run.id
        self._project = self._project or getattr(run, "project", None)
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Send one set of values."""
        values = self._named(metrics)
        self.experiment.log(values if step is None else {**values, STEP: step})

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Send the hyper-parameters."""
        self.experiment.config.update(plain(as_mapping(params)), allow_val_change=True)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Upload it, or remember to."""
        self._checkpoints = checkpoint_callback
        if self._log_model == "all":
            self._send_checkpoints()

    def finalize(self, status: str) -> None:
        """Upload the checkpoints that are kept, where that is wanted."""
        super().finalize(status)
        if self._log_model and self._checkpoints is not None and status == "success":
            self._send_checkpoints()

    def _send_checkpoints(self) -> None:
        if not on_rank_zero():
            return
        import wandb

        kept = self._checkpoints
        scores = {path: float(score) for path, score in kept.best_k_models.items()}
        paths = {*scores, kept.best_model_path, kept.last_model_path} - {""}
        times = {path: os.path.getmtime(path) for path in paths if os.path.isfile(path)}
        for path in sorted(times, key=times.__getitem__):
            if self._sent.get(path) == times[path]:
                continue
            about = {"score": scores.get(path), "original_filename": os.path.basename(path)}
            artifact = wandb.Artifact(f"model-{self.experiment.id}", "model", metadata=about)
            artifact.add_file(path, name="model.ckpt")
            is_best = path == kept.best_model_path
            self.experiment.log_artifact(artifact, aliases=["latest", "best"][: 1 + is_best])
        self._sent = times

    def watch(self, model: Any, log: str | None = "gradients", log_freq: int = 100) -> None:
        """Let wandb draw histograms of the model's gradients, parameters or both ("all")."""
        self.experiment.watch(model, log=log, log_freq=log_freq)

    def log_image(
        self, key: str, images: Sequence[Any], step: int | None = None, **options: Any
    ) -> None:
        """Send images; of further arguments, each image gets its own entry (`caption=[...]`)."""
        if not on_rank_zero():
            return
        import wandb

        each = [{name: values[n] for name, values in options.items()} for n in range(len(images))]
        shown = [wandb.Image(image, **own) for image, own in zip(images, each, strict=True)]
        self.log_metrics({key: shown}, step)

    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Send a table."""
        if not on_rank_zero():
            return
        import wandb

        table = wandb.Table(columns=columns, data=data, dataframe=dataframe)
        self.log_metrics({key: table}, step)

    log_text = log_table
