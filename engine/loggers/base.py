"""What every logger has in common: its folder, its version, and who may write."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from engine.runtime.distributed.world import on_rank_zero
from engine.runtime.storage.files import FOLDER_MODE, make_folder

DEFAULT_NAME = "lightning_logs"
TEST_TUBES_NAME = "default"  # what test-tube's logger has by default


class Logger:
    """A place that metrics and hyper-parameters of a run go to.

    A member implements `name`, `version` and `log_metrics`, and what else it can do. The engine
    calls it on rank zero only; `experiment` is safe to use on every rank.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        """Nothing is kept: loggers of one's own may hand on what 1.x took here."""

    @property
    def name(self) -> str | None:
        """The experiment's name."""
        raise NotImplementedError

    @property
    def version(self) -> int | str | None:
        """The run's number or name among the runs of this experiment."""
        raise NotImplementedError

    @property
    def save_dir(self) -> str | None:
        """The folder that all experiments lie in, where there is one."""
        return None

    @property
    def root_dir(self) -> str | None:
        """The folder that all versions of this experiment lie in, where there is one."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder of this run, where there is one."""
        return None

    def place(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """Write below `root`, or in its folder `version`, if nothing else was asked for."""

    @property
    def experiment(self) -> Any:
        """The object that really writes."""
        return self

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one set of values at `step`."""
        raise NotImplementedError

    def log_hyperparams(self, params: Mapping[str, Any] | Any, **kwargs: Any) -> None:
        """Write the run's hyper-parameters."""

    def log_graph(self, model: torch.nn.Module, input_array: Any = None) -> None:
        """Write the model's graph, where the logger can."""

    def save(self) -> None:
        """Make all that was logged so far readable by others."""

    def finalize(self, status: str) -> None:
        """Close, after a run that ended as `status` says: success, failed or finished."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """A callback that keeps checkpoints has written one."""

    _together: Sequence[Any] = ()  # all loggers of the trainer, where it was given a list

    def __getitem__(self, index: int) -> Any:
        """In 1.x several loggers were one: `self.logger[1]` is the second of them."""
        return (self._together or (self,))[index]

    def _shown(self, experiment: Any) -> Any:
        """The experiment as it is seen: the first of a list of loggers answers for all."""
        is_first = isinstance(self, LoggerCollection)
        return Experiments(experiment, self._together[1:]) if is_first else experiment

    # What loggers of one's own call, as 1.x had it.

    LOGGER_JOIN_CHAR = "-"
    NAME_HPARAMS_FILE = "hparams.yaml"
    group_separator = "/"

    def close(self) -> None:
        """Write out what waits."""
        self.save()

    def agg_and_log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log; values of one step come together already, so there is nothing to combine."""
        self.log_metrics(metrics, step)

    def update_agg_funcs(self, *_: Any, **__: Any) -> None:
        """Nothing is combined."""

    def _add_prefix(
        self, metrics: Mapping[str, Any], prefix: str = "", separator: str = "-"
    ) -> dict[str, Any]:
        """The metrics, each name after a prefix: the given one, or the logger's own."""
        start = prefix or getattr(self, "_prefix", "")
        return {f"{start}{separator}{name}" if start else name: v for name, v in metrics.items()}

    @staticmethod
    def _sanitize_callable_params(params: Mapping[str, Any]) -> dict[str, Any]:
        """A name in the place of each function; of one without arguments what it returns."""
        found: dict[str, Any] = {}
        for name, value in params.items():
            if callable(value):
                try:
                    value = value()
                except Exception:  # it wants arguments, or anything else
                    value = getattr(value, "__name__", str(value))
                value = getattr(value, "__name__", str(value)) if callable(value) else value
            found[name] = value
        return found

    @staticmethod
    def _convert_params(params: Any) -> dict[str, Any]:
        """Hyper-parameters, in whichever form they were given, by name."""
        if params is None:
            return {}
        return dict(params if isinstance(params, Mapping) else vars(params))

    @staticmethod
    def _flatten_dict(
        params: Mapping[Any, Any], delimiter: str = "/", parent_key: str = ""
    ) -> dict[str, Any]:
        """Nested hyper-parameters in one level, named `outer/inner`."""
        result: dict[str, Any] = {}
        for key, value in params.items():
            name = f"{parent_key}{delimiter}{key}" if parent_key else str(key)
            value = vars(value) if isinstance(value, Namespace) else value
            if isinstance(value, Mapping):
                result.update(Logger._flatten_dict(value, delimiter, name))
            else:
                result[name] = value
        return result

    @staticmethod
    def _sanitize_params(params: Mapping[str, Any]) -> dict[str, Any]:
        """Text in the place of what is no number, text or tensor."""
        plain = (bool, int, float, str, torch.Tensor)
        return {
            name: value if isinstance(value, plain) else str(value)
            for name, value in params.items()
        }


class _StandsForAll(type):
    """Which loggers are a LoggerCollection: the first of those in a list."""

    def __instancecheck__(cls, instance: object) -> bool:
        together: Sequence[Any] = getattr(instance, "_together", ())
        return bool(together) and together[0] is instance

    def __call__(cls, loggers: Iterable[Any]) -> list[Any]:
        """What a Trainer takes several loggers as."""
        return list(loggers)


class LoggerCollection(metaclass=_StandsForAll):
    """What 1.x made of `logger=[first, second]`, to ask whether `trainer.logger` is one."""


class Experiments:
    """`self.logger.experiment` of a list of loggers: in 1.x a list, in 2.x that of the first.

    A number gives one of them, everything else is asked of the first.
    """

    def __init__(self, first: Any, others: Sequence[Any]) -> None:
        self.__dict__.update(_first=first, _others=others)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, int):
            return self._first[key]
        place = range(len(self))[key]
        return self._others[place - 1].experiment if place else self._first

    def __len__(self) -> int:
        return 1 + len(self._others)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._first[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._first, name, value)

    @property  # type: ignore[misc]  # what isinstance asks, where the type itself is another
    def __class__(self) -> Any:
        return type(self._first)


class FolderLogger(Logger):
    """A logger with a folder for each run: `save_dir/name/version_n`.

    Without `save_dir` it writes where the run's other files go: see `place`.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = DEFAULT_NAME,
        version: int | str | None = None,
        prefix: str = "",
    ) -> None:
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._save_dir_was_given = save_dir is not None
        self._name = name or ""
        self._version = version
        self._version_was_given = version is not None
        self._prefix = prefix
        self._experiment: Any = None

    @property
    def name(self) -> str:
        """The experiment's name: the folder between `save_dir` and the version."""
        return self._name

    @property
    def version(self) -> int | str:
        """The run's number, or the name that was given to it."""
        if self._version is None:
            self._version = next_version(self.root_dir)
        return self._version

    @property
    def save_dir(self) -> str:
        """The folder that all experiments lie in."""
        return os.getcwd() if self._save_dir is None else self._save_dir

    @property
    def root_dir(self) -> str:
        """The folder that all versions of this experiment lie in."""
        return os.path.join(self.save_dir, self._name)

    @property
    def log_dir(self) -> str:
        """The folder of this run."""
        version = self.version
        return os.path.join(
            self.root_dir, version if isinstance(version, str) else f"version_{version}"
        )

    @property
    def experiment(self) -> Any:
        """The object that really writes; on other ranks one that ignores whatever is asked."""
        if self._experiment is None:
            self._experiment = self._open() if on_rank_zero() else Silent()
        return self._shown(self._experiment)

    def place(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """Write where the trainer writes, unless a `save_dir` was given.

        That is below `root`, or, where the run has a folder `root/version` already, in that.
        """
        if self._save_dir_was_given:
            return
        if version is not None:
            self._name = "" if self._name == DEFAULT_NAME else self._name
            self._version, self._version_was_given = version, True
        elif self._save_dir != os.fspath(root) and not self._version_was_given:
            self._version = None  # a number of another folder
        self._save_dir = os.fspath(root)
        self._experiment = None  # what an earlier run wrote was closed with it

    def _open(self) -> Any:
        raise NotImplementedError

    def _named(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The metrics under the names they are written by."""
        if not self._prefix:
            return dict(metrics)
        return {f"{self._prefix}-{key}": value for key, value in metrics.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Open files and writer threads stay with the process that opened them.
        return {**self.__dict__, "_experiment": None}


class Silent:
    """Accepts every call and does nothing: the experiment of a rank that does not log."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Silent()

    def __call__(self, *args: Any, **kwargs: Any) -> Silent:
        """Do nothing."""
        return self

    def __getitem__(self, key: Any) -> Silent:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def next_version(folder: str | os.PathLike[str]) -> int:
    """The number after the highest `version_n` in `folder`; 0 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    numbers = [int(m[1]) for name in names if (m := re.fullmatch(r"version_(\d+)", name))]
    return max(numbers, default=-1) + 1


def settle_versions(
    loggers: Sequence[Logger],
    broadcast: Callable[[list[int | str]], list[int | str]] = lambda versions: versions,
    barrier: Callable[[], None] = lambda: None,
) -> None:
    """Fix the version of every logger: the same on all ranks, one for loggers of one folder.

    All ranks call it before anything is written. The barrier comes first: no rank may find rank
    zero's new folder while it still guesses the number.
    """
    members = [logger for logger in loggers if isinstance(logger, FolderLogger)]
    if not members:
        return
    barrier()
    versions = broadcast(_choose_versions(members) if on_rank_zero() else [])
    for member, version in zip(members, versions, strict=True):
        member._version = version


def _choose_versions(members: Iterable[FolderLogger]) -> list[int | str]:
    """One version a folder: the one a member has already, else a new one, which is claimed."""
    ordered = list(members)
    chosen: dict[str, int | str] = {}
    for member in sorted(ordered, key=lambda member: not member._version_was_given):
        if member._version is not None:
            chosen.setdefault(_folder_of(member), member._version)
    for member in ordered:
        if _folder_of(member) not in chosen:
            chosen[_folder_of(member)] = _claim_version(Path(member.root_dir))
    return [
        member.version if member._version_was_given else chosen[_folder_of(member)]
        for member in ordered
    ]


def _folder_of(member: FolderLogger) -> str:
    return os.path.abspath(member.root_dir)


def share_names(loggers: Iterable[Any]) -> None:
    """Let loggers of one `save_dir` whose names are those by default write to one folder."""
    members = [logger for logger in loggers if isinstance(logger, FolderLogger)]
    shared = {os.path.abspath(m.save_dir) for m in members if m.name == DEFAULT_NAME}
    for member in members:
        if member.name == TEST_TUBES_NAME and os.path.abspath(member.save_dir) in shared:
            member._name = DEFAULT_NAME
            member._version = member._version if member._version_was_given else None


def _claim_version(folder: Path) -> int:
    """Make the folder of a new version, so that no program beside us takes the same number."""
    make_folder(folder)
    while True:
        version = next_version(folder)
        try:
            os.mkdir(folder / f"version_{version}", FOLDER_MODE)
            return version
        except FileExistsError:
            continue
