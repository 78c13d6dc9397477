"""For people: ``python -m tests.testbed up 4 [--slurm] [--ray]`` brings up hosts to log in to."""

import argparse
import contextlib
import shlex
import signal
import sys

from tests.testbed import Ray, Slurm, Testbed


def main() -> int:
    """Bring up hosts; run a command on one, or wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    parser.add_argument("verb", choices=["up"])
    parser.add_argument("hosts", type=int, help="how many, besides the login host host0")
    parser.add_argument("--slurm", action="store_true", help="start Slurm on them")
    parser.add_argument("--ray", action="store_true", help="start Ray on them")
    parser.add_argument(
        "command", nargs="*", help="a program to run, after --: on host0, with --ray on host1"
    )
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    command = sys.argv[split + 1 :] or options.command
    if reason := Slurm.missing() if options.slurm else Testbed.missing():
        print(f"no testbed: {reason}", file=sys.stderr)
        return 3
    with contextlib.ExitStack() as stack:
        bed = stack.enter_context(Testbed(options.hosts))
        if options.slurm:
            stack.enter_context(Slurm(bed))
        if options.ray:
            stack.enter_context(Ray(bed))
        if command:
            return bed.run(1 if options.ray else 0, command, cwd="/shared").wait()
        print("Log in (from there, `ssh host1` and so on work); Ctrl-C here ends all hosts:")
        for number in range(options.hosts + 1):
            pid = str(bed.path(number)).split("/")[2]
            login = ["nsenter", "--target", pid, "--all", "env", "-i", "HOME=/root"]
            login += ["TERM=xterm", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-l"]
            print(f"  host{number}  {bed.address(number):12}  {shlex.join(login)}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
