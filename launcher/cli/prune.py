"""``plaunch prune``: remove the folders of old runs, and what is noted of them.

Only folders that a run of ours has made or used are touched, never one of a run that goes on. A
folder that plaunch has named is removed whole; in one that the user has named (``--run-dir``) only
what plaunch and the engine have written there. Links are never followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from launcher.batch import states
from launcher.batch.states import JobStatus
from launcher.core.console.console import Output, table
from launcher.core.exit_codes import NOT_AS_ASKED
from launcher.rundir import index
from launcher.rundir.records import read
from launcher.rundir.snapshot import ago

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
FAILED = ("failed", "died")
_OURS = re.compile(
    r"job\.json|result\.json|events\.jsonl|lock|function-[0-9a-f]{8}\.pickle"
    r"|\.(job|result)\.json\.[0-9a-f]{16}"  # written in part, as files.write_whole names it
)
_DEFAULT = re.compile(r"\d{8}-\d{6}-.+-[a-f][0-9a-f]{7}")  # as rundir.default_path names it
_FITS = re.compile(r"fit-\d+")
_OF_FITS = re.compile(
    r"engine\.json|.*\.ckpt|hparams\.yaml|config\.yaml|metrics\.csv|events\.out\.tfevents\..*"
)
_LOGS = re.compile(r"rank\d+\.log")


class NotPruned(Exception):
    """Why a folder is left alone."""


@dataclass(frozen=True)
class Pruned:
    """What has become of one old run; ``bytes`` is what its folder took on the disk."""

    job_id: str | None
    slurm: str | None
    state: str
    run_dir: str
    last: float  # unix time of its last sign of life
    bytes: int = 0
    removed: bool = False
    reason: str = ""  # why not, or what was left


def seconds_of(text: str) -> float:
    """``30d``, ``12h``, ``2w``, ``90m`` or ``45s`` in seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found is None:
        raise ValueError(f"{text!r} is no age: write it as 30d, 12h, 2w, 90m or 45s")
    return int(found[1]) * UNITS[found[2]]


def prune(older_s: float, output: Output, *, failed: bool, dry_run: bool, as_json: bool) -> int:
    """Remove runs that are over and whose last sign is older than ``older_s``; says what it freed.

    The exit code is 0, or 3 if some could not be removed.
    """
    entries = list(dict.fromkeys([*index.entries()[::-1], *_beside()]))
    jobs, problem = states.job_states(entries)
    rows = []
    for job in jobs:
        if job.over and (not failed or job.state in FAILED):
            row = _row(job)
            if row.last < time.time() - older_s:
                rows.append(_remove(row, job, dry_run=dry_run))
    if as_json:
        output.stdout(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    elif rows:
        output.stdout("\n".join(_table(rows)) + "\n")
    if not as_json:
        output.say(_summary(rows, dry_run=dry_run))
    if problem is not None:
        output.error(f"{problem}; jobs of which only SLURM knows the end are kept")
    kept = [row for row in rows if row.reason and not row.removed]
    return NOT_AS_ASKED if kept or problem is not None else 0


def _beside() -> Iterator[index.Entry]:
    """Runs in ``plaunch_runs`` of the current folder that the index has forgotten."""
    known = {entry.run_dir for entry in index.entries()}
    for path in sorted(Path.cwd().glob("plaunch_runs/*/job.json")):
        if str(path.parent) not in known and not path.parent.is_symlink():
            with contextlib.suppress(Exception):  # nothing that can be read as a run
                yield from states.find(str(path.parent))


def _row(job: JobStatus) -> Pruned:
    run_dir, last = job.entry.run_dir, job.facts.last_sign or 0.0
    for name in ("job.json", "result.json", "events.jsonl"):
        with contextlib.suppress(OSError):
            last = max(last, os.lstat(os.path.join(run_dir, name)).st_mtime)
    return Pruned(job.job_id, job.entry.slurm, job.state, run_dir, last or job.entry.started)


def _remove(row: Pruned, job: JobStatus, *, dry_run: bool) -> Pruned:
    """Remove the folder, and forget the run."""
    left = ""
    if job.facts.state != "missing":
        try:
            with _owned(row.run_dir) as folder:
                whole = _is_named_by_us(folder, job)
                size = _size(folder)
                row = replace(row, bytes=size if whole else _size_of_ours(folder))
                if not dry_run:
                    left = "" if whole else "what else is in its folder was left"
                    _remove_whole(folder) if whole else _remove_ours(folder)
        except NotPruned as problem:
            return replace(row, reason=str(problem))
        except OSError as error:
            return replace(row, reason=f"{error.strerror}: {error.filename}")
    elif os.path.lexists(row.run_dir):
        return replace(row, reason="it is no folder of a run")
    if not dry_run:
        index.put_back(row.run_dir, None)
    return replace(row, removed=not dry_run, reason=left if os.path.lexists(row.run_dir) else "")


@contextlib.contextmanager
def _owned(run_dir: str) -> Iterator[Path]:
    """A run's folder, while nobody else can own the run. Raises NotPruned, OSError."""
    folder = Path(run_dir)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotPruned("its folder is a link now, or a file")
    if found.st_uid != os.geteuid():
        raise NotPruned("its folder belongs to somebody else")
    job = folder / "job.json"
    if not stat.S_ISREG(os.lstat(job).st_mode) or "job_id" not in (read(job) or {}):
        raise NotPruned("there is no job.json of a run in its folder")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise NotPruned("its lock is no file")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotPruned("it runs") from None
        yield folder
    finally:
        os.close(lock)


def _is_named_by_us(folder: Path, job: JobStatus) -> bool:
    """Whether plaunch has made and named the folder, so that all in it is the run's."""
    if folder.parent.name != "plaunch_runs" or folder.parent.is_symlink():
        return False
    numbers = (job.entry.slurm, (read(folder / "job.json") or {}).get("slurm_job_id"))
    by_slurm = any(number and folder.name.endswith(f"-{number}") for number in numbers)
    return by_slurm or _DEFAULT.fullmatch(folder.name) is not None


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All files and folders below a folder. Raises NotPruned at another file system."""
    device = os.lstat(folder).st_dev
    pending = [str(folder)]
    while pending:
        for entry in os.scandir(pending.pop()):
            found = entry.stat(follow_symlinks=False)
            if found.st_dev != device:
                raise NotPruned(f"another file system is mounted at {entry.path}")
            yield entry.path, found
            if stat.S_ISDIR(found.st_mode):
                pending.append(entry.path)


def _size(folder: Path) -> int:
    """What a folder takes on the disk."""
    sizes = {
        (found.st_dev, found.st_ino): found.st_blocks * 512
        for _, found in _walk(folder)
        if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
    }
    return sum(sizes.values()) + os.lstat(folder).st_blocks * 512


def _ours(folder: Path) -> list[Path]:
    """The files that a run has written into a folder of the user's, by their names."""
    found = [path for path in _files(folder) if _OURS.fullmatch(path.name)]
    if not (folder / "logs").is_symlink():
        found += [path for path in _files(folder / "logs") if _LOGS.fullmatch(path.name)]
    for inner in sorted(folder.glob("fit-*")):
        if _FITS.fullmatch(inner.name) and not inner.is_symlink() and _is_of_engine(inner):
            found += [
                path
                for root, _, _ in os.walk(inner)  # which follows no links
                for path in _files(Path(root))
                if _OF_FITS.fullmatch(path.name)
            ]
    return found


def _files(folder: Path) -> list[Path]:
    """The plain files that are in a folder itself."""
    with contextlib.suppress(OSError):
        found = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        return sorted(Path(entry.path) for entry in found)
    return []


def _is_of_engine(folder: Path) -> bool:
    """Whether the engine has kept its index of checkpoints in a folder."""
    index_of = folder / "engine.json"
    content = None if index_of.is_symlink() else read(index_of)
    return content is not None and isinstance(content.get("checkpoints"), list)


def _size_of_ours(folder: Path) -> int:
    return sum(os.lstat(file).st_blocks * 512 for file in _ours(folder))


def _remove_whole(folder: Path) -> None:
    """Links in it are removed, not followed, even if they appear just now."""
    assert shutil.rmtree.avoids_symlink_attacks
    shutil.rmtree(folder)


def _remove_ours(folder: Path) -> None:
    files = _ours(folder)
    for file in files:
        file.unlink(missing_ok=True)
    around = {parent for file in files for parent in file.parents if folder in parent.parents}
    for empty in [*sorted({folder / "logs", *around}, reverse=True), folder]:  # inner ones first
        with contextlib.suppress(OSError):
            empty.rmdir()


def _table(rows: Sequence[Pruned]) -> list[str]:
    heading = ("JOB", "STATE", "LAST SIGN", "SIZE", "FOLDER", "KEPT BECAUSE")
    cells = [
        (
            row.job_id or row.slurm or "-",
            row.state,
            f"{ago(row.last)} ago" if row.last else "-",
            size_words(row.bytes),
            row.run_dir,
            row.reason,
        )
        for row in rows
    ]
    has_reasons = any(row.reason for row in rows)
    return table([line if has_reasons else line[:-1] for line in (heading, *cells)], indent="")


def _summary(rows: Sequence[Pruned], *, dry_run: bool) -> str:
    done = [row for row in rows if row.removed or (dry_run and not row.reason)]
    if not rows:
        return "no runs are that old"
    what = f"{len(done)} run{'' if len(done) == 1 else 's'}"
    size = size_words(sum(row.bytes for row in done))
    return f"{what} would be removed: {size}" if dry_run else f"{what} removed, {size} freed"


def size_words(count: int) -> str:
    """``3.4 GiB``."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1024:.0f} KiB"
