"""Leases of GPUs: two runs on one machine, also of two users, never pick the same GPU.

Advisory: a lease binds those who ask, which is plaunch. It is a lock on a file that the kernel
drops however its owner ends. This file travels to the nodes: standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Not $TMPDIR: that differs between users and jobs, and a lease must not.
FOLDER = "/tmp/plaunch-gpu-leases"
SECOND_FOLDER = "/dev/shm/plaunch-gpu-leases"  # where /tmp is read-only, for everybody alike
FOLDER_VARIABLE = "PLAUNCH_LEASE_DIR"

_TRIES = 20
_PAUSE_S = 0.005
_NOTE_BYTES = 1000


class Lease:
    """The GPUs that this process holds for a job, until it ends or gives them back.

    ``problem`` says why leases don't work on this machine (say, a read-only /tmp); GPUs are then
    granted without.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._held: dict[str, int] = {}
        self.problem = ""

    @property
    def held(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that are held."""
        return tuple(self._held)

    def take(self, uuids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take each GPU, or be refused because another run holds it: ``(taken, refused)``."""
        taken: list[str] = []
        refused: list[str] = []
        for uuid in uuids:
            try:
                granted = uuid in self._held or self._lock(uuid)
            except OSError as error:
                self.problem = f"GPU leases don't work here: {error}"
                granted = True
            (taken if granted else refused).append(uuid)
        return tuple(taken), tuple(refused)

    def give_back(self, uuids: Collection[str] | None = None) -> None:
        """Release some GPUs, or all of them."""
        for uuid in [u for u in self._held if uuids is None or u in uuids]:
            os.close(self._held.pop(uuid))

    def _lock(self, uuid: str) -> bool:
        fd = _open(uuid, create=True)
        # Someone who only looks (`holder`) has the lock for a moment.
        for _ in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE_S)
                continue
            self._held[uuid] = fd
            self._sign(fd)
            return True
        os.close(fd)
        return False

    def _sign(self, fd: int) -> None:
        note = {"job": self._job_id, "user": user_name(os.getuid()), "pid": os.getpid()}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
        except OSError:
            pass  # another user's file from which others may only read: the lock still holds


def holder(uuid: str) -> str:
    """Say who has leased a GPU; empty if nobody has, or if leases don't work here."""
    try:
        fd = _open(uuid, create=False)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_note(fd)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return ""


def user_name(uid: int) -> str:
    """Name of a user, or the number if it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read_note(fd: int) -> str:
    """What the owner wrote. Anyone may write there, so nothing of it is believed or obeyed."""
    try:
        note = json.loads(os.pread(fd, _NOTE_BYTES, 0))
        job, user, pid = str(note["job"]), str(note["user"]), int(note["pid"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another run"
    if not (job + user).isprintable() or not (job + user).isascii() or len(job + user) > 200:
        return "another run"
    return f"run {job} of {user}, pid {pid}"


def _open(uuid: str, *, create: bool) -> int:
    """Open a GPU's file; never follows a link, never opens anything but a plain file."""
    name = "".join(c if c.isalnum() or c == "-" else "_" for c in uuid) + ".lock"
    folder = _open_folder(create)
    try:
        fd = _open_file(name, folder, create)
    finally:
        os.close(folder)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)  # also a second name that somebody gave to a file of ours, which we'd empty
        raise OSError(errno.EINVAL, "not a plain file", name)
    return fd


def _open_folder(create: bool) -> int:
    own = os.environ.get(FOLDER_VARIABLE)
    try:
        return _open_one(own or FOLDER, create)
    except OSError as error:
        if own or error.errno not in (errno.EROFS, errno.ENOENT):
            raise
        return _open_one(SECOND_FOLDER, create)


def _open_one(path: str, create: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    made = False
    if create:
        try:
            os.mkdir(path)
            made = True
        except FileExistsError:
            pass
    fd = os.open(path, flags)
    if made:
        os.fchmod(fd, 0o1777)  # whatever the umask
    return fd


def _open_file(name: str, folder: int, create: bool) -> int:
    # Opening with O_CREAT a file that another user made in a sticky folder is forbidden
    # (fs.protected_regular), so making and opening are two steps. O_NONBLOCK: a pipe put there
    # must not hold us up.
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    last: OSError | None = None
    for _ in range(_TRIES):
        for mode in (os.O_RDWR, os.O_RDONLY):
            try:
                return os.open(name, mode | flags, dir_fd=folder)
            except PermissionError as error:
                last = error
            except FileNotFoundError:
                if not create:
                    raise
                break
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666, dir_fd=folder)
        except (FileExistsError, PermissionError) as error:
            last = error  # another run is just making the file, or the folder
            time.sleep(_PAUSE_S)
        else:
            os.fchmod(fd, 0o666)  # the next owner of the lease signs it, whoever that is
            return fd
    assert last is not None
    raise last
