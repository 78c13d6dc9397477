"""Warnings of Lightning's kinds: nobody raises them here, but filters name them."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from engine.compat.versions.about import logger
from engine.runtime.distributed.world import rank_zero_only, rank_zero_warn


class PossibleUserWarning(UserWarning):
    """Something that may be a mistake."""


class LightningDeprecationWarning(DeprecationWarning):
    """Something that will be another way."""


class DeadlockDetectedException(Exception):
    """Ranks that wait for each other."""


class ExitGracefullyException(Exception):
    """The run was told to end."""


class SIGTERMException(SystemExit):
    """The process was told to end by SIGTERM."""


class WarningCache(set[str]):
    """Warnings that are given once each."""

    def _is_new(self, message: str) -> bool:
        is_new = message not in self
        self.add(message)
        return is_new

    def warn(
        self, message: str, category: Any = UserWarning, stacklevel: int = 4, **_: Any
    ) -> None:
        """Warn of this for the first time only."""
        if self._is_new(message):
            rank_zero_warn(message, category, stacklevel)

    def deprecation(self, message: str, *_: Any, stacklevel: int = 5, **__: Any) -> None:
        """Say for the first time only that this will be another way."""
        if self._is_new(message):
            rank_zero_deprecation(message, stacklevel=stacklevel)

    def info(self, message: str, *args: Any, **options: Any) -> None:
        """Log this for the first time only."""
        if self._is_new(message):
            rank_zero_only(logger.info)(message, *args, **options)


warning_cache = WarningCache()


def disable_possible_user_warnings(module: str = "") -> None:
    """Show no warnings of what may be a mistake."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


def rank_zero_deprecation(message: str, stacklevel: int = 5, **_: Any) -> None:
    """Say on rank zero that something will be another way."""
    rank_zero_warn(message, LightningDeprecationWarning, stacklevel=stacklevel)


@rank_zero_only
def rank_zero_debug(message: str, *args: Any, **_: Any) -> None:
    """One line of the log, for who looks for it."""
    logger.log(logging.DEBUG, message, *args)
