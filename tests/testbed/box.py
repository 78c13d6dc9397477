"""A script: the box that holds one testbed, so that ending one process ends everything in it.

The box is a set of namespaces of its own: its process 1 (this program) keeps the switch and the
shared folder, and every host is made inside. When process 1 ends, the kernel ends all processes
of all hosts, and with them go mounts, links and files: nothing can be left behind. Process 1 ends
when its owner does, however that happens: it holds a pidfd of the owner and reads a pipe from it.

    box.py OWNER_PID '{"num_hosts": 4, "visible": ["/work/project"], ...}'

Then one JSON list a line on stdin (``["boot", 1]``), one JSON answer a line on stdout.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from typing import Any, NoReturn

import host
import syscalls


def main() -> None:
    """Enter new namespaces and serve the owner from process 1 of them."""
    owner = os.pidfd_open(int(sys.argv[1]))
    spec = json.loads(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the owner's to act on; we follow the owner
    syscalls.unshare(syscalls.NEW_HOST)
    child = os.fork()
    if child == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        try:
            _serve(owner, Box(spec))
        except BaseException:
            traceback.print_exc()
        os._exit(0)  # nothing of the box outlives this
    os.waitpid(child, 0)


def _serve(owner: int, box: "Box") -> None:
    """Do what the owner says until it goes."""
    waiting = select.poll()
    waiting.register(owner, select.POLLIN)
    waiting.register(0, select.POLLIN)
    box.make_switch()
    box.make_keys()
    _answer({"ok": "ready"})
    pending = b""
    while True:
        if any(fd == owner for fd, _ in waiting.poll()):
            return
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            verb, *args = json.loads(line)
            try:
                _answer({"ok": getattr(box, verb)(*args)})
            except Exception:
                _answer({"error": traceback.format_exc()})


def _answer(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


class Box:
    """The switch, the keys and the hosts of one testbed."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.state: str = spec["state"]
        self.pids: dict[int, int] = {}  # host number -> its process 1, as seen from in here

    def make_switch(self) -> None:
        """Mount the state folder and bring up the switch."""
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("tmpfs", self.state, "tmpfs", options="mode=755")
        os.mkdir(f"{self.state}/keys")
        os.mkdir(f"{self.state}/shared")
        os.chmod(f"{self.state}/shared", 0o1777)
        host.ip("link set lo up", "link add br0 type bridge", "link set br0 up")

    def make_keys(self) -> None:
        """One key pair for the users, one for each host; a host keeps its own over a reboot."""
        names = ["client", *(f"host{number}" for number in range(self.spec["num_hosts"] + 1))]
        keygen_command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", ""]
        keygens = [
            subprocess.Popen(
                [*keygen_command, "-C", name, "-f", f"{self.state}/keys/{name}"],
                stdin=subprocess.DEVNULL,
            )
            for name in names
        ]
        for keygen in keygens:
            if keygen.wait() != 0:
                raise RuntimeError("ssh-keygen failed")

    def boot(self, number: int) -> int:
        """Bring up host ``number``; returns its process 1 as the owner sees it."""
        if number in self.pids:
            raise RuntimeError(f"host{number} is up already")
        go_read, go_write = os.pipe()
        ready_read, ready_write = os.pipe()
        middle = os.fork()  # unshare(CLONE_NEWPID) works once in a process's life
        if middle == 0:
            os.close(go_write)
            os.close(ready_read)
            self._fork_host(number, go_read, ready_write)
        os.close(go_read)
        os.close(ready_write)
        os.waitpid(middle, 0)
        with os.fdopen(ready_read) as ready, os.fdopen(go_write, "w") as go:
            self.pids[number] = pid = int(ready.readline())
            try:
                self._plug_in(number, pid)
                go.write("go")
                go.close()
                message = json.loads(ready.readline() or '{"error": "died while booting"}')
                if "error" in message:
                    raise RuntimeError(f"host{number}: {message['error']}")
            except Exception:
                self.crash(number)
                raise
        return int(message["pid"])

    def _fork_host(self, number: int, go: int, ready: int) -> NoReturn:
        """In the process between the box and the host: start the host's process 1."""
        syscalls.unshare(syscalls.NEW_HOST)
        pid = os.fork()
        if pid == 0:
            host.start(number, self.spec, go, ready)
        os.write(ready, b"%d\n" % pid)
        os._exit(0)

    def _plug_in(self, number: int, pid: int) -> None:
        """Lay a cable from the switch to the host's eth0."""
        port = f"v{number}"
        if port in (name for _, name in socket.if_nameindex()):
            # After a crash the kernel takes it away in its own time, which may be just now.
            with contextlib.suppress(RuntimeError):
                host.ip(f"link del {port}")
        # A fixed hardware address: the neighbours' ARP caches stay right over a reboot.
        address = f"02:00:0a:4d:00:{number:02x}"
        host.ip(
            f"link add {port} type veth peer name eth0 address {address} netns {pid}",
            f"link set {port} master br0 up",
        )

    def crash(self, number: int) -> None:
        """Power off: all processes of the host die at once, its files are lost."""
        pid = self.pids.pop(number)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # returns when the last process of the host is gone

    def cable(self, number: int, state: str) -> None:
        """Cut the host's cable ("down"), or heal it ("up")."""
        host.ip(f"link set v{number} {state}")


if __name__ == "__main__":
    main()
