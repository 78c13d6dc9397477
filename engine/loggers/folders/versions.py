"""Versions of folder loggers: each run gets a number, the same on all ranks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from engine.loggers.base import Logger
from engine.loggers.folders.base import (
    DEFAULT_NAME,
    TEST_TUBES_NAME,
    FolderLogger,
    next_version,
)
from engine.runtime.distributed.world import on_rank_zero
from engine.runtime.storage.files import FOLDER_MODE, make_folder


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


def share_names(loggers: Iterable[Logger]) -> None:
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
