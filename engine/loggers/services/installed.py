"""Loggers of other services: their library is there, or it is said how to get it.

An adapter is thin: it opens a run of the service on rank zero and hands on what it is given.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from engine.loggers.base import Logger
from engine.loggers.dummy import Silent
from engine.runtime.distributed.world import on_rank_zero

if TYPE_CHECKING:
    from engine.runtime.data.types import Metrics


class ForeignLogger(Logger):
    """A logger whose records another library keeps.

    Making one checks that the library is there; it is imported, and the run opened, when there is
    something to log. On other ranks `experiment` ignores whatever is asked, and a `version` that
    the service draws is not known.
    """

    library = ""
    package = ""  # what pip calls it
    separator = "-"
    is_service = True  # a run's name is drawn elsewhere, and it has no folder of its own here

    def __init__(self, prefix: str = "") -> None:
        require(type(self).__name__, self.library, self.package)
        self._prefix = prefix
        self._experiment: Any = None

    @property
    def experiment(self) -> Any:
        """The library's own object; on other ranks one that ignores whatever is asked."""
        if not on_rank_zero():
            return self._shown(Silent())
        if self._experiment is None:
            self._experiment = self._open()
        return self._shown(self._experiment)

    def _open(self) -> Any:
        raise NotImplementedError

    def _named(self, metrics: Metrics) -> dict[str, Any]:
        """The metrics under the names they are written by."""
        if not self._prefix:
            return dict(metrics)
        return {f"{self._prefix}{self.separator}{key}": value for key, value in metrics.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Connections and threads stay with the process that opened them.
        return {**self.__dict__, "_experiment": None}


def require(owner: str, library: str, package: str) -> None:
    """Raise what to install, where `library` is missing."""
    if library in sys.modules or importlib.util.find_spec(library) is not None:
        return
    raise ModuleNotFoundError(
        f"{owner} needs {library}, which is not installed here: pip install {package} "
        "(on every node), or use another logger, such as engine.loggers.CSVLogger",
        name=library,
    )
