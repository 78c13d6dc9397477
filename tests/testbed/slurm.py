"""Slurm on a testbed's hosts: a controller on host1, nodes host1 .. hostN, clients on host0.

    with Testbed(4) as bed, Slurm(bed) as slurm:
        job_id = slurm.submit("hostname", "--nodes=2")
        slurm.wait_for(job_id, "COMPLETED")

The daemons are Debian's own; the GPUs are device files with nothing behind them. Configuration,
logs and the controller's state are in /shared/slurm, so they outlive a crash of host1.
"""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType

from tests.testbed import slurm_conf, slurm_daemons
from tests.testbed.testbed import HostProcess, Testbed, wait_until


class Slurm:
    """Slurm on the hosts of a testbed."""

    def __init__(
        self,
        testbed: Testbed,
        *,
        config: Mapping[str, str | None] | None = None,
        grace_s: int = 8,
        accounting: bool = False,
    ) -> None:
        """``config``: lines of slurm.conf to set; None takes a line out (see slurm_conf.py)."""
        self.testbed = testbed
        self.accounting = accounting
        self.nodes = [f"host{number}" for number in range(1, testbed.num_hosts + 1)]
        self._config = dict(config or {})
        self._grace_s = grace_s
        self._first = (dict(self._config), grace_s)
        self._first_job = 1
        self._is_away = False

    @staticmethod
    @functools.cache
    def missing(*, accounting: bool = False) -> str | None:
        """Why this machine can't have Slurm, or None if it can."""
        extra = slurm_daemons.NEEDED_FOR_ACCOUNTING if accounting else {}
        for program, package in (slurm_daemons.NEEDED | extra).items():
            if shutil.which(program, path=slurm_daemons.PATH) is None:
                return f"needs {program} (Debian package {package})"
        return Testbed.missing()

    def __enter__(self) -> "Slurm":
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.down()

    # -- all of it

    def up(self) -> None:
        """Start Slurm on all hosts and wait until every node is idle."""
        self._write_files()
        self._start_what_is_missing()
        self._wait_until_idle()

    def down(self) -> None:
        """End all jobs and daemons at once. What the testbed's end does as well."""
        for host in ["host0", *self.nodes]:
            jobs = [p for p in self.testbed.processes(host) if _is_of_a_job(p)]
            daemons = [p for p in self.testbed.daemons(host) if "sshd" not in p.program]
            for process in [*daemons, *jobs]:
                _kill(process.pid)

    def reset(self) -> None:
        """As after `up`: all hosts and daemons run, all jobs are cancelled and gone."""
        self.testbed.restore()
        self._start_what_is_missing()
        if (self._config, self._grace_s) != self._first:
            self._config, self._grace_s = dict(self._first[0]), self._first[1]
            self.configure({})
        self._wait_until_idle("squeue -h -r -t PD,R,S -o %A | xargs -r scancel -Q")
        for host in self.nodes:  # a killed controller may have lost jobs: nobody else ends those
            for process in _below_slurmstepds(self.testbed.processes(host)):
                _kill(process.pid)

    def _wait_until_idle(self, before: str = ":") -> None:
        """Wait until no job is left and every node is idle; nodes that are down are resumed."""
        script = f"""\
until {before}
      test -z "$(squeue -h -o %A)" && test "$(sinfo -h -N -o %T | sort -u)" = idle; do
    for node in $(sinfo -h -N -t down,drain,fail -o %N | sort -u); do
        scontrol update nodename=$node state=resume 2>/dev/null
    done
    sleep 0.1
done"""
        try:
            self._client(script)
        except (subprocess.TimeoutExpired, RuntimeError):
            state = self._client("squeue; sinfo -N -o '%N %T %E'; true", check=False)
            raise TimeoutError(f"Slurm isn't idle:\n{state}") from None

    def configure(self, config: Mapping[str, str | None], *, grace_s: int | None = None) -> None:
        """Change lines of slurm.conf while Slurm runs; `reset` takes it back."""
        self._config.update(config)
        self._grace_s = self._grace_s if grace_s is None else grace_s
        self._write_files()
        self._client("until scontrol reconfigure; do sleep 0.1; done")

    # -- jobs

    def submit(self, script: str, *options: str, user: str = "root") -> str:
        """`sbatch` from host0 in /shared; returns the job's id."""
        text = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
        argv = ["sbatch", "--parsable", *options]
        with self.testbed.run(
            "host0",
            argv,
            user=user,
            cwd="/shared",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            out, err = process.communicate(text, timeout=60)
        if process.returncode != 0:
            raise RuntimeError(f"{argv}: {err}")
        return out.strip().partition(";")[0]

    def job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` says of one job, as Slurm calls it ("JobState")."""
        return self.jobs(job_id)[0]

    def jobs(self, job_id: str) -> list[dict[str, str]]:
        """The same for an array: one entry for what waits, one for each task that was started."""
        return [parse(line) for line in self._client(f"scontrol -o show job {job_id}").splitlines()]

    def wait_for(
        self, job_id: str, state: str | Collection[str], timeout_s: float = 60
    ) -> dict[str, str]:
        """Wait until the job is in a state (or one of several); returns `job` of that moment."""
        states = {state} if isinstance(state, str) else set(state)
        return self.wait_until(
            job_id, lambda job: job["JobState"] in states, str(states), timeout_s
        )

    def wait_until(
        self,
        job_id: str,
        condition: Callable[[dict[str, str]], bool],
        what: str,
        timeout_s: float = 60,
    ) -> dict[str, str]:
        """Wait until ``condition`` holds of the job; returns `job` of that moment."""
        deadline = time.monotonic() + timeout_s
        while not condition(job := self.job(job_id)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s:g} s: {what}; job {job_id} is {job}")
            time.sleep(0.1)
        return job

    def wait_until_back(self, job_id: str, restarts: int = 1) -> dict[str, str]:
        """Wait until a job that is put back for the ``restarts``-th time has started again.

        Slurm has it wait ten seconds, until its last run's credentials have expired. It is not told
        to start sooner: what comes back too soon was seen not to run.
        """

        def is_back(job: dict[str, str]) -> bool:
            if int(job["Restarts"]) < restarts:
                return False
            return job["JobState"] not in ("PENDING", "COMPLETING", "REQUEUED")

        return self.wait_until(job_id, is_back, "it has started again", 90)

    def expire(self, job_id: str) -> None:
        """Let a running job's time limit end now; Slurm looks at limits every 30 s."""
        self._client(f"scontrol update jobid={job_id} endtime=now+1")

    # -- faults

    def stop_controller(self, *, kill: bool = False) -> None:
        """End slurmctld: in order, or by kill -9. Clients then give up after a second, not after 9.

        A killed one forgets its last jobs and gives their ids again, which the nodes then refuse
        ("Job credential revoked"): so the next one counts from further on.
        """
        if kill:
            self._first_job += 1000
        self._end("host1", "slurmctld", signal.SIGKILL if kill else signal.SIGTERM)
        self._is_away = True
        self._write_files()
        self._end("host1", "slurmscriptd", signal.SIGKILL)

    def start_controller(self) -> None:
        """Start slurmctld again and wait until it answers."""
        self._start_what_is_missing()
        self._client("until scontrol ping | grep -q 'is UP'; do sleep 0.05; done")

    def kill_slurmd(self, host: int | str) -> None:
        """kill -9 of a node's slurmd. Its jobs live on."""
        self._end(host, "slurmd", signal.SIGKILL)

    def start_slurmd(self, host: int | str) -> None:
        """Start a node's slurmd again, and wait until the node can be used."""
        self._start_what_is_missing()
        self._wait_until_usable(host)

    def crash(self, host: int | str) -> None:
        """Switch a host off, and have Slurm know at once; alone it needs half a minute."""
        self.testbed.crash(host)
        name = host if isinstance(host, str) else f"host{host}"
        self._client(f"scontrol update nodename={name} state=down reason=crashed")

    def boot(self, host: int | str) -> None:
        """Boot a crashed host with its daemons, and wait until its node can be used again."""
        self.testbed.boot(host)
        self._start_what_is_missing()
        self._wait_until_usable(host)

    # -- inside

    @property
    def folder(self) -> Path:
        """Configuration, logs and state, from outside; hosts see it as /shared/slurm."""
        return self.testbed.shared / "slurm"

    def _wait_until_usable(self, host: int | str) -> None:
        name = host if isinstance(host, str) else f"host{host}"
        if name in self.nodes:
            self._client(f"""\
until sinfo -h -n {name} -o %T | grep -qxE 'idle|mixed|allocated|completing'; do
    scontrol update nodename={name} state=resume 2>/dev/null
    sleep 0.1
done""")

    def _write_files(self) -> None:
        etc = self.folder / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        for name in ("log", "state"):
            (self.folder / name).mkdir(exist_ok=True)
            shutil.chown(self.folder / name, "slurm", "slurm")
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(os.urandom(128))
        more = {"MessageTimeout": "2"} if self._is_away else {}
        files = slurm_conf.files(
            len(self.nodes),
            {**self._config, **more, "FirstJobId": str(self._first_job)},
            self._grace_s,
            accounting=self.accounting,
        )
        for name, text in files.items():
            (etc / name).write_text(text)
        if self.accounting:  # it holds a password: slurmdbd wants it so
            (etc / "slurmdbd.conf").chmod(0o600)
            shutil.chown(etc / "slurmdbd.conf", "slurm", "slurm")

    def _start_what_is_missing(self) -> None:
        """Start the daemons that don't run, the controller before the nodes."""
        if self._is_away:
            self._is_away = False
            self._write_files()
        scripts = {}
        for host in ["host0", *self.nodes]:
            running = {process.program for process in self.testbed.daemons(host)}
            script = slurm_daemons.start_script(host, running, accounting=self.accounting)
            if script:
                scripts[host] = script
        self._on({host: scripts.pop(host) for host in ("host1",) if host in scripts})
        self._on(scripts)

    def _on(self, scripts: Mapping[str, str]) -> None:
        """Run a script on each host, all at once. What they write goes to a log."""
        processes = {}
        for host, script in scripts.items():
            log = f"/shared/slurm/log/{host}-start.log"
            argv = ["sh", "-c", f"exec </dev/null >>{log} 2>&1; set -ex\n{script}"]
            # The daemons must not inherit a login's environment: jobs would see it.
            processes[host] = self.testbed.run(
                host, ["env", "-i", f"PATH={slurm_daemons.PATH}", *argv]
            )
        try:
            for host, process in processes.items():
                if process.wait(60) != 0:
                    log_file = self.folder / "log" / f"{host}-start.log"
                    raise RuntimeError(f"Slurm on {host}: {log_file.read_text()[-3000:]}")
        finally:
            for process in processes.values():
                process.kill()

    def _client(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        """Run a shell script of client commands on the login host; returns its output."""
        done = self.testbed.call("host0", ["sh", "-c", script], timeout_s=timeout_s, cwd="/shared")
        if check and done.returncode != 0:
            raise RuntimeError(f"{script}: {done.stderr.strip()}")
        return done.stdout

    def _end(self, host: int | str, daemon: str, number: int) -> None:
        """Send a signal to a daemon and wait until it is gone."""

        def pids() -> list[int]:
            return [p.pid for p in self.testbed.daemons(host) if p.program == daemon]

        for pid in pids():
            _kill(pid, number)
        wait_until(lambda: not pids(), f"{daemon} ends")


def parse(line: str) -> dict[str, str]:
    """Take a line of `scontrol -o show job` apart; values may hold blanks."""
    words = re.split(r"(?:^| )([A-Za-z][\w/:]*)=", line.rstrip())
    return dict(zip(words[1::2], words[2::2], strict=True))


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _below_slurmstepds(processes: list[HostProcess]) -> list[HostProcess]:
    """The slurmstepds and what descends from them, but not what has left them."""
    found = [process for process in processes if process.program == "slurmstepd"]
    for process in found:  # grows while we look
        found += [child for child in processes if child.parent == process.pid]
    return found


def _is_of_a_job(process: HostProcess) -> bool:
    return process.program == "slurmstepd" or "SLURM_JOB_ID" in process.environ
