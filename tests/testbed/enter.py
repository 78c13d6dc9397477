"""A script: run a program on a host, as if started there.

    enter.py PID USER CWD PROGRAM [ARGUMENT...]

PID is the host's process 1. Signals are passed on, the exit code (or signal) is passed back, and
when this process is killed the program is killed as well.
"""

import os
import pwd
import signal
import sys
from typing import Any, NoReturn

import syscalls

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
)


def main() -> NoReturn:
    """Enter the host, run the program, end as it ended."""
    pid, user, cwd, *argv = sys.argv[1:]
    namespaces = [
        os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        for kind in ("ipc", "uts", "net", "pid", "mnt")
    ]
    for fd in namespaces:
        syscalls.setns(fd)
        os.close(fd)
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # none may get lost before the child is
    child = os.fork()  # a process-id namespace holds only for children
    if child == 0:
        _become(user, cwd, argv)

    def forward(number: int, frame: Any) -> None:
        os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    _end_like(os.waitpid(child, 0)[1])


def _become(user: str, cwd: str, argv: list[str]) -> NoReturn:
    """In the child: the user's process, in a session of its own."""
    try:
        os.setsid()
        account = pwd.getpwnam(user)
        os.initgroups(user, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        syscalls.die_with_parent(signal.SIGKILL)  # after setuid, which clears it
        if os.getppid() == 1:  # it has died before; while it lives, outside, it has no number here
            os._exit(1)
        os.chdir(cwd)
        os.umask(0o022)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # what Python changed at its start
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        os.execvp(argv[0], argv)
    except BaseException as error:
        print(f"enter: {error}", file=sys.stderr)
        sys.stderr.flush()
    os._exit(127)


def _end_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
