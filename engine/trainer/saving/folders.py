"""Where a trainer writes: its folders, and the loggers that share them."""

from __future__ import annotations

import os
from typing import Any

from engine.runtime.settings import Settings
from engine.runtime.storage import run_folder as rundir
from engine.trainer.defaults import make_loggers


class TrainerFolders:
    """The part of a trainer's face that names folders and loggers."""

    _settings: Settings
    _loggers: list[Any] | None
    _ordinal: int | None
    _change: Any  # of the trainer's view

    @property
    def default_root_dir(self) -> str:
        """Where everything is written that was not told to go elsewhere."""
        given = self._settings.output.default_root_dir
        return given or rundir.launched_dir() or os.getcwd()

    @property
    def weights_save_path(self) -> str:
        """Where checkpoints are written that were not told to go elsewhere."""
        return self._settings.output.weights_save_path or self.default_root_dir

    @property
    def checkpoint_root(self) -> str:
        """The folder of this run in which a ModelCheckpoint without a `dirpath` has its own."""
        root = self._settings.output.weights_save_path
        if root is None:
            return os.path.abspath(self._service_folder() or self.log_dir)
        logger = self.logger
        if getattr(logger, "log_dir", None) is None:
            return root
        version = logger.version
        folder = version if isinstance(version, str) else f"version_{version}"
        return os.path.join(root, str(logger.name or ""), folder)

    @property
    def loggers(self) -> list[Any]:
        """The loggers; the default one is made when first asked for."""
        if self._loggers is None:
            self._loggers = make_loggers(self._settings.output, self._fit_folder())
        return self._loggers

    @property
    def logger(self) -> Any:
        """The first logger, None without any."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Any) -> None:
        self._change("logger", logger)
        self._loggers = None

    @property
    def log_dir(self) -> str:
        """The folder of this run, which its loggers and checkpoints share.

        Without loggers that write files, and without plaunch, it is `default_root_dir`.
        """
        folders = [logger.log_dir for logger in self.loggers if logger.log_dir is not None]
        return str((folders[0] if folders else self._fit_folder()) or self.default_root_dir)

    def _service_folder(self) -> str | None:
        """Where only services log, a folder with the name that the first gives to this run.

        The run is opened for it. Other ranks than zero don't know the name.
        """
        logger = self.logger
        has_folder = any(one.log_dir is not None for one in self.loggers) or self._fit_folder()
        if has_folder or not getattr(logger, "is_service", False):
            return None
        _ = logger.experiment  # opens it
        if logger.version is None:
            return None
        root = logger.save_dir or self.default_root_dir
        return os.path.join(root, str(logger.name or ""), str(logger.version))

    def _fit_folder(self) -> str | None:
        told_elsewhere = self._settings.output.default_root_dir is not None
        return None if told_elsewhere else rundir.fit_folder(self._ordinal)
