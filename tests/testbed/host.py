"""One host of the testbed from the inside: its network, its files, its users, its sshd."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import syscalls

_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_ALICE_UID = 2000
# Where programs of this machine, and of other tests, write what no host should see.
_OWN = ("/tmp", "/var/tmp")

_SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


def ip(*commands: str) -> None:
    """Run several `ip` commands in one process."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip: {commands}: {done.stderr.strip()}")


def address(number: int) -> str:
    """The address of a host; the login host has the last one."""
    return f"10.77.0.{number or 254}"


def start(number: int, spec: dict[str, Any], go: int, ready: int) -> NoReturn:
    """As process 1 of new namespaces: become host ``number``, say so, and sleep for ever."""
    try:
        outer_pid = int(os.readlink("/proc/self"))  # /proc is still the owner's
        os.read(go, 16)  # the cable is plugged in
        name = f"host{number}"
        syscalls.sethostname(name)
        ip(
            "link set lo up",
            f"addr add {address(number)}/24 dev eth0",
            "link set eth0 up",
        )
        keys = _read_keys(f"{spec['state']}/keys")
        _mount_root(f"{spec['state']}/{name}", spec)
        _write_files(number, spec, keys)
        _start_sshd()
        os.write(ready, json.dumps({"pid": outer_pid}).encode() + b"\n")
        # With SIGCHLD ignored the kernel reaps orphans for process 1.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.execv("/bin/sleep", ["sleep", "infinity"])
    except BaseException:
        os.write(ready, json.dumps({"error": traceback.format_exc()}).encode() + b"\n")
    os._exit(1)


def _mount_root(place: str, spec: dict[str, Any]) -> None:
    """A root of its own: the machine's files below, all writes in memory above."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    shared = f"{spec['state']}/shared"
    os.makedirs(place, exist_ok=True)
    syscalls.mount("tmpfs", place, "tmpfs", options="mode=755")
    root = f"{place}/root"
    for lower in ["/", *(folder for folder in spec["visible"] if not _is_own(folder))]:
        _lay_over(place, lower)
    for folder in _OWN:
        os.makedirs(root + folder, exist_ok=True)
        syscalls.mount("tmpfs", root + folder, "tmpfs", options="mode=1777")
    for lower in sorted(folder for folder in spec["reachable"] if _is_own(folder)):
        _lay_over(place, lower)
    _mount_devices(root)
    os.makedirs(f"{root}/shared", exist_ok=True)
    syscalls.mount(shared, f"{root}/shared", flags=syscalls.MS_BIND)
    os.makedirs(f"{root}/.old-root", exist_ok=True)
    syscalls.pivot_root(root, f"{root}/.old-root")
    os.chdir("/")
    syscalls.detach("/.old-root")
    os.rmdir("/.old-root")


def _is_own(folder: str) -> bool:
    """Whether it is a folder that every host has for itself, or below one."""
    return any(f"{folder}/".startswith(f"{own}/") for own in _OWN)


def _lay_over(place: str, lower: str) -> None:
    """Show the host a folder of the machine; what the host writes there is in memory."""
    number = len(os.listdir(place))
    layers = [f"{place}/upper{number}", f"{place}/work{number}"]
    target = f"{place}/root{lower.rstrip('/')}"
    for folder in [*layers, target]:
        os.makedirs(folder, exist_ok=True)
    options = f"lowerdir={lower},upperdir={layers[0]},workdir={layers[1]}"
    syscalls.mount("overlay", target, "overlay", options=options)


def _mount_devices(root: str) -> None:
    """/proc, /sys, /dev and /run, fresh for this host."""
    syscalls.mount("proc", f"{root}/proc", "proc")
    syscalls.mount("sysfs", f"{root}/sys", "sysfs")
    syscalls.mount("tmpfs", f"{root}/run", "tmpfs", options="mode=755")
    dev = f"{root}/dev"
    syscalls.mount("tmpfs", dev, "tmpfs", options="mode=755")
    for name, minor in _DEVICES.items():
        os.mknod(f"{dev}/{name}", 0o666 | 0o020000, os.makedev(1, minor))
    os.mknod(f"{dev}/tty", 0o666 | 0o020000, os.makedev(5, 0))
    for name in _DEVICES.keys() | {"tty"}:
        os.chmod(f"{dev}/{name}", 0o666)  # whatever the umask
    for name, target in {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/pts")
    syscalls.mount("devpts", f"{dev}/pts", "devpts", options="newinstance,ptmxmode=666")
    os.mkdir(f"{dev}/shm")
    syscalls.mount("tmpfs", f"{dev}/shm", "tmpfs", options="mode=1777")


def _read_keys(folder: str) -> dict[str, str]:
    """The key files of the testbed: name -> text."""
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


def _write_files(number: int, spec: dict[str, Any], keys: dict[str, str]) -> None:
    """Names, users and keys; nothing of the machine's own users remains."""
    name, numbers = f"host{number}", range(spec["num_hosts"] + 1)
    _write("/etc/hostname", name + "\n")
    lines = ["127.0.0.1 localhost", *(f"{address(k)} host{k}" for k in numbers)]
    _write("/etc/hosts", "\n".join(lines) + "\n")
    _write("/etc/resolv.conf", "")
    _write("/etc/ssh/sshd_config", _SSHD_CONFIG + _penalties())
    for path in Path("/etc/ssh").glob("ssh_host_*"):
        path.unlink()  # the machine's own
    _write("/etc/ssh/ssh_host_ed25519_key", keys[name], mode=0o600)
    _write("/etc/ssh/ssh_host_ed25519_key.pub", keys[f"{name}.pub"])
    _write("/etc/ssh/ssh_known_hosts", "")
    _write_user("/root", 0, keys, numbers)
    with open("/etc/passwd", "a") as passwd:
        passwd.write(f"alice:x:{_ALICE_UID}:{_ALICE_UID}::/home/alice:/bin/bash\n")
    with open("/etc/group", "a") as group:
        group.write(f"alice:x:{_ALICE_UID}:\n")
    with open("/etc/shadow", "a") as shadow:
        shadow.write("alice:*:19000:0:99999:7:::\n")  # with "!" sshd calls the account locked
    _write_user("/home/alice", _ALICE_UID, keys, numbers)
    for folder in spec["reachable"]:  # such as a Python below /root, for alice
        for parent in [Path(folder), *Path(folder).parents]:
            parent.chmod(parent.stat().st_mode | 0o055)


def _write_user(home: str, uid: int, keys: dict[str, str], numbers: range) -> None:
    """A home folder without the machine's own keys and shell start files, with the testbed's."""
    os.makedirs(home, exist_ok=True)
    for entry in (".ssh", ".local/state", ".config", ".bashrc", ".profile", ".bash_profile"):
        if os.path.isdir(f"{home}/{entry}"):
            shutil.rmtree(f"{home}/{entry}")
        elif os.path.lexists(f"{home}/{entry}"):
            os.unlink(f"{home}/{entry}")
    known = [f"host{k},{address(k)} {' '.join(keys[f'host{k}.pub'].split()[:2])}" for k in numbers]
    ssh = f"{home}/.ssh"
    _write(f"{ssh}/id_ed25519", keys["client"], mode=0o600)
    _write(f"{ssh}/id_ed25519.pub", keys["client.pub"])
    _write(f"{ssh}/authorized_keys", keys["client.pub"])
    _write(f"{ssh}/known_hosts", "\n".join(known) + "\n")
    _write(f"{ssh}/config", "Host *\n    ConnectTimeout 5\n", mode=0o600)
    for path in (home, ssh, *(f"{ssh}/{entry}" for entry in os.listdir(ssh))):
        os.chown(path, uid, uid)
    os.chmod(ssh, 0o700)


def _write(path: str, text: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)  # it may be a link into what is not there
    with open(path, "w") as file:
        os.chmod(path, mode)
        file.write(text)


def _penalties() -> str:
    """Newer sshds shut out addresses that fail often; tests fail often, and on purpose."""
    told = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    version = re.match(r"OpenSSH_(\d+)\.(\d+)", told)
    new = version is not None and (int(version[1]), int(version[2])) >= (9, 8)
    return "PerSourcePenalties no\n" if new else ""


def _start_sshd() -> None:
    """Start the host's sshd and wait until it listens."""
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    subprocess.run(["/usr/sbin/sshd", "-E", "/var/log/sshd.log"], check=True)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", 22), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
