"""Which runs this user has had: one small file each in the user's state folder.

So that ``plaunch status`` finds a run from another folder, and after its terminal was closed. Best
effort: a run whose entry can't be written runs all the same, and is found by its run folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from launcher.rundir import files

KEPT = 200  # more are forgotten when they are old
OLD_S = 14 * 86400.0
MOST = 2000  # more are forgotten however young they are
FOREVER = 1 << 33  # a moment that no clock shows, in unix time


@dataclass(frozen=True)
class Entry:
    """One run: where its folder is, and who leads it."""

    run_dir: str
    cluster: str
    job_id: str | None = None  # plaunch's own; None while a submitted job has not begun
    host: str = ""
    pid: int | None = None  # of the controller, on ``host``
    started: float = 0.0  # unix time
    slurm: str | None = None  # "1234", or "1234_5" for an array's task
    program: str = ""
    out: str | None = None  # SLURM's files of what the job prints
    err: str | None = None
    whole_job: bool = False  # the job in SLURM does nothing but this run

    @property
    def key(self) -> str:
        """The entry's file name, by the run's folder: a run that goes on there is the same run."""
        return sha256(os.fsencode(self.run_dir)).hexdigest()[:24]


def folder(env: Mapping[str, str] = os.environ) -> Path:
    """Where the entries are: ``$XDG_STATE_HOME/plaunch/jobs``."""
    home = env.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()
    return base / "plaunch" / "jobs"


def record(entry: Entry) -> None:
    """Write an entry, whole or not at all, over the former one of the same run. Never fails.

    What the former one knows and the new one doesn't is kept: a submitted job that begins adds its
    id, host and process to what was written when it was submitted.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        place = folder()
        files.make_folder(place, 0o700)
        os.chmod(place, 0o700)  # one that was made under another umask
        path = place / f"{entry.key}.json"
        former = _read(path)
        if former is not None and former.slurm is not None and former.slurm == entry.slurm:
            entry = _filled(entry, former)
        data = json.dumps(asdict(entry)).encode("ascii")
        files.write_whole(path, data, durable=False, mode=0o600)
        _forget(place)


def entry_of(run_dir: str) -> Entry | None:
    """What is noted of the run in this folder."""
    with contextlib.suppress(OSError, RuntimeError):
        return _read(folder() / f"{Entry(run_dir, '').key}.json")
    return None


def put_back(run_dir: str, former: Entry | None) -> None:
    """Forget the run in this folder, or remember what was noted of it before. Never fails."""
    with contextlib.suppress(OSError, RuntimeError):
        (folder() / f"{Entry(run_dir, '').key}.json").unlink(missing_ok=True)
    if former is not None:
        record(former)


def entries() -> list[Entry]:
    """All runs that are known, the newest first."""
    found: list[Entry] = []
    with contextlib.suppress(OSError, RuntimeError):
        found = [entry for path in folder().glob("*.json") if (entry := _read(path)) is not None]
    return sorted(found, key=lambda entry: -entry.started)


def find(word: str) -> list[Entry]:
    """The runs that a job id, a SLURM job id or a run's folder means, the newest first.

    Of plaunch's own ids the first four characters will do. The id of a job array means its tasks.
    """
    known = entries()
    for means in (_is_named, _is_in, _begins):
        found = [entry for entry in known if means(entry, word)]
        if found:
            return found
    return []


def _is_named(entry: Entry, word: str) -> bool:
    return bool(word) and word in (
        entry.job_id,
        entry.slurm,
        (entry.slurm or "").partition("_")[0],
    )


def _is_in(entry: Entry, word: str) -> bool:
    return os.path.realpath(entry.run_dir) == os.path.realpath(word)


def _begins(entry: Entry, word: str) -> bool:
    return len(word) >= 4 and entry.job_id is not None and entry.job_id.startswith(word)


def _filled(entry: Entry, former: Entry) -> Entry:
    empty = {
        field.name: getattr(former, field.name)
        for field in fields(Entry)
        if getattr(entry, field.name) in (None, "", 0.0, False)
    }
    return replace(entry, **empty)


def _read(path: Path) -> Entry | None:
    """An entry, or None if the file is not one (or has just gone)."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        data = json.loads(files.read_whole(path, files.JSON_BYTES))
        names = {field.name for field in fields(Entry)}
        if not isinstance(data, dict):
            return None
        entry = Entry(**{name: value for name, value in data.items() if name in names})
        if isinstance(entry.run_dir, str) and isinstance(entry.cluster, str) and _sane(entry):
            return entry
    return None


def _sane(entry: Entry) -> bool:
    texts: list[Any] = [entry.job_id, entry.slurm, entry.out, entry.err]
    return (
        all(text is None or isinstance(text, str) for text in texts)
        and isinstance(entry.host, str)
        and isinstance(entry.program, str)
        and isinstance(entry.started, (int, float))
        and 0 <= entry.started < FOREVER
        and (entry.pid is None or (isinstance(entry.pid, int) and 0 < entry.pid < 1 << 31))
        and isinstance(entry.whole_job, bool)
    )


def _forget(place: Path) -> None:
    """Bound the number of entries without a look at the runs, whose disks may be away."""
    paths = list(place.glob("*.json"))
    if len(paths) <= KEPT:
        return
    ages: list[tuple[float, Path]] = []
    for path in paths:
        with contextlib.suppress(OSError):
            ages.append((path.stat().st_mtime, path))
    ages.sort(reverse=True)
    for number, (written, path) in enumerate(ages):
        if number >= MOST or (number >= KEPT and written < time.time() - OLD_S):
            path.unlink(missing_ok=True)
