"""The command line: words to calls. Quick: nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from launcher.core.exit_codes import USAGE

if TYPE_CHECKING:
    from launcher.core.job import ProgramKind

DESCRIPTION = "Start a PyTorch program on every node of a cluster, follow it, gather its results."
EXAMPLES = """\
examples:
  plaunch --procs 4 train.py --lr 0.1          four ranks on this machine
  plaunch --nodes 2 --gpus 8 train.py          two nodes of the cluster that is found, 8 GPUs each
  plaunch --hosts host1,host[2-4] train.py     SSH hosts, one rank a GPU
  plaunch --cluster slurm --nodes 4 --gpus 8 --time 2:00:00 train.py
                                               from a SLURM login node: queued, then followed
  plaunch nodes --hosts host[1-4]              what the nodes have
  plaunch doctor --hosts host[1-4]             what is wrong with them, and what to do
  plaunch status                               how your jobs are
  plaunch prune --older 30d                    remove old runs' folders

exit codes: 0 success; a failed rank's own code; 128+n ended by signal n; 75 preempted, run again;
  2 usage; 3 the cluster is not as asked; 124 --timeout was reached; 130 Ctrl-C; 143 SIGTERM
"""

LATER = ("preempt", "stacks")
JOB_WORDS = ("status", "logs", "cancel", "prune")
WORDS = ("nodes", "doctor", *JOB_WORDS)
LONG = 400  # characters of a message that are worth reading


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest option for a typo."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, and one line."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            self.no_such_option(unknown.split()[0] if unknown.split() else unknown)
        self.exit(USAGE, f"{self.prog}: {shown(message)} (see {self.prog} --help)\n")

    def no_such_option(self, word: str) -> NoReturn:
        """Exit with 2, and with what to use in the place of an option that we don't have."""
        from launcher.cli.foreign_options import no_such_option

        self.error(no_such_option(word, tuple(self._option_string_actions)))

    def parse_program(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse options, a program, and its own words, which may be anything."""
        takes_value = {name: a.nargs != 0 for name, a in self._option_string_actions.items()}
        unknown = first_unknown(words, takes_value)
        if unknown is not None:
            self.no_such_option(unknown)
        return self.parse_args(list(words))


def first_unknown(words: Sequence[str], takes_value: Mapping[str, bool]) -> str | None:
    """The first word in an option's place, before the program, that is no option of ours.

    ``takes_value`` has all our options and whether each needs a value.
    """
    rest = iter(words)
    for word in rest:
        if word in ("-", "--") or not word.startswith("-"):
            return None
        name, equals, _ = word.partition("=")
        if name not in takes_value:
            return word
        if takes_value[name] and not equals:
            next(rest, None)
    return None


def shown(text: str) -> str:
    """A message for a person: no more than can be read, and nothing that a terminal obeys."""
    from launcher.core.console.terminal import paragraph

    middle = "" if len(text) <= LONG else " [...] "
    return paragraph(text if not middle else text[: LONG // 2] + middle + text[-LONG // 2 :])


def nodes_range(text: str) -> tuple[int, int]:
    """``4`` or ``2:4``."""
    least, _, most = text.partition(":")
    try:
        found = int(least), int(most or least)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor MIN:MAX") from None
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: at least one node, and MIN up to MAX")
    return found


def count(text: str) -> int:
    """A number of at least one."""
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 999999999")
    return int(text)


def restarts(text: str) -> int:
    """How often to start again."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999999")
    return int(text)


def seconds(text: str) -> float:
    """A duration in seconds, not negative."""
    try:
        found = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= found < 1e10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 1e10")
    return found


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Which nodes."""
    where = parser.add_argument_group("where")
    where.add_argument(
        "--cluster", metavar="KIND|FILE", help="local, ssh, slurm, ray, or a cluster file (YAML)"
    )
    where.add_argument("--hosts", metavar="LIST", help="SSH hosts: h1,h[2-4],user@h5:2222")
    where.add_argument(
        "--nodes",
        "--nnodes",
        type=nodes_range,
        metavar="N|MIN:MAX",
        help="how many nodes (default: 1 locally, else all)",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """How much to say."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--verbose", action="store_true", help="say more")
    how.add_argument("--quiet", action="store_true", help="only the ranks' output and errors")


def add_slurm_options(parser: argparse.ArgumentParser) -> None:
    """What a job that is submitted is asked for; the cluster file has defaults."""
    queue = parser.add_argument_group("on SLURM, outside an allocation")
    queue.add_argument(
        "--time", metavar="TIME", help="the job's limit: 90 (minutes), 2:00:00, 1-12 (days-hours)"
    )
    queue.add_argument("--partition", metavar="NAME", help="where it is queued")
    queue.add_argument("--account", metavar="NAME", help="who is charged")
    queue.add_argument("--qos", metavar="NAME", help="its quality of service")
    queue.add_argument(
        "--requeue",
        action="store_true",
        help="when it is preempted, it is queued again and goes on",
    )
    queue.add_argument(
        "--signal-lead",
        type=count,
        metavar="SECONDS",
        help="how long before its end the ranks are told to save (with --requeue: 120)",
    )
    queue.add_argument(
        "--array", metavar="SPEC", help="a job array: 0-7, 1,3,5 or 0-7%%2 (two at a time)"
    )
    queue.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTIONS",
        help='further options for sbatch: --sbatch="--exclusive --constraint=a100"',
    )
    queue.add_argument(
        "--detach", action="store_true", help="print the job id, and don't wait for the job"
    )
    queue.add_argument(
        "--new-job",
        action="store_true",
        help="inside an allocation: submit a job of its own from here, and leave that one alone",
    )


def run_parser() -> Parser:
    """The parser of a launch."""
    parser = Parser(
        prog="plaunch",
        usage="plaunch [options] script.py [script args]\n"
        "       plaunch [options] -m module [args]\n"
        "       plaunch [options] --no-python program [args]\n"
        "       plaunch nodes|doctor|status|logs|cancel|prune [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_cluster_options(parser)
    ray = parser.add_argument_group("on Ray")
    ray.add_argument(
        "--wait", type=seconds, metavar="SECONDS", help="for the resources to be free (60)"
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--gpus",
        metavar="N|all|free[:N]|LIST",
        help="GPUs of each node: a number, all, free ones, a list (3, is the GPU 3), or "
        "h1:LIST;h2:LIST; 0 is CPU",
    )
    what.add_argument(
        "--procs",
        "--nproc-per-node",
        "--nproc_per_node",
        dest="procs",
        metavar="N",
        help="ranks on each node; cpu: one a core (default: one a GPU, or one)",
    )
    what.add_argument("-m", "--module", action="store_true", help="run a module, like python -m")
    what.add_argument("--no-python", "--no_python", action="store_true", help="run any program")
    what.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="set a variable for all ranks; without a value it takes ours (the way for secrets)",
    )
    what.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this once a node, beside torch, before ranks are forked",
    )
    what.add_argument(
        "--compat",
        metavar="NAME",
        help="run a program written for pytorch_lightning (or lightning) on the engine, unedited",
    )
    what.add_argument("--start", choices=("warm", "cold"), default="warm", help="default: warm")
    when = parser.add_argument_group("when something goes wrong")
    when.add_argument(
        "--max-restarts", "--max_restarts", type=restarts, default=0, metavar="N", help="default: 0"
    )
    when.add_argument(
        "--grace",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="to end after Ctrl-C or SIGTERM (30)",
    )
    when.add_argument(
        "--failure-grace",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="for the healthy ranks to end after one has failed (5); 0: killed at once",
    )
    when.add_argument("--timeout", type=seconds, metavar="SECONDS", help="of the whole run")
    keep = parser.add_argument_group("what is kept")
    keep.add_argument(
        "--run-dir", metavar="DIR", help="the run's folder; the same again continues a run"
    )
    keep.add_argument("--restart", action="store_true", help="begin anew in an old run folder")
    keep.add_argument("--result", metavar="FILE", help="also write the result (JSON) to this file")
    add_slurm_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would run, and stop")
    add_output_options(parser)
    parser.add_argument("--standalone", action="store_true", help=argparse.SUPPRESS)
    # in a batch script of ours: the pickled function of a launch()
    parser.add_argument("--function", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("program", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("args", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The ``plaunch`` command; returns its exit code."""
    if argv is None:
        from launcher.core.limits import open_standard_streams

        open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("nodes", "doctor"):
        return look(words[0], words[1:])
    if words and words[0] in JOB_WORDS and not os.path.isfile(words[0]):
        from launcher.cli import jobs

        return jobs.main(words[0], words[1:], Parser)
    parser = run_parser()
    options = parser.parse_program(words)
    if options.version:
        from importlib import metadata

        print(f"plaunch {metadata.version('plaunch')}")
        return 0
    if not options.program:
        parser.error("what shall run? Give a script: plaunch [options] script.py [script args]")
    if is_no_program(options):
        check_word(parser, options.program, is_first=words[0] == options.program)
    from launcher.core.errors import UsageError

    try:
        return launch(options)
    except UsageError as error:
        print(f"plaunch: {shown(str(error))}", file=sys.stderr)
        return USAGE


def check_word(parser: Parser, word: str, *, is_first: bool) -> None:
    """Exit with 2 if the word that should be a program is one of ours, or nearly."""
    if word in LATER:
        parser.error(f"'plaunch {word}' is not in this version")
    if word in JOB_WORDS:
        parser.error(f"{word!r} comes before options: plaunch {word} ...")
    if is_first:
        from launcher.cli.foreign_options import no_such_word

        meant = no_such_word(word, WORDS)
        if meant is not None:
            parser.error(meant)


def is_no_program(options: argparse.Namespace) -> bool:
    """Whether the word can't be a program of the user's: no module, and nothing here."""
    named = options.module or options.no_python or options.function
    return not (named or os.path.exists(options.program))


def launch(options: argparse.Namespace) -> int:
    """Run the program that the options name."""
    from launcher.controller.run import run_and_tell
    from launcher.core.console.console import Output
    from launcher.request import request

    output = Output(quiet=options.quiet, verbose=options.verbose)
    kind: ProgramKind = "script"
    if options.module or options.no_python:
        kind = "module" if options.module else "program"
    program = request.make_program(kind, options.program, options.args, options.compat)
    if options.function is not None:
        program = request.read_function(options.function, options.program, options.compat)
    wanted = request.Wanted(
        cluster=options.cluster,
        hosts=options.hosts,
        nodes=options.nodes,
        gpus=options.gpus,
        procs=request.num_procs(options.procs),
        max_restarts=options.max_restarts,
        grace_s=options.grace,
        failure_grace_s=options.failure_grace,
        timeout_s=options.timeout,
        env=request.parse_env(options.env, os.environ),
        preload=tuple(options.preload),
        start=options.start,
        run_dir=options.run_dir,
        restart=options.restart and not request.is_requeued(os.environ),
        result_file=options.result,
        time=options.time,
        partition=options.partition,
        account=options.account,
        qos=options.qos,
        requeue=options.requeue,
        signal_lead_s=options.signal_lead,
        array=options.array,
        sbatch=tuple(options.sbatch),
        detach=options.detach,
        new_job=options.new_job,
        wait_s=options.wait,
    )
    return run_and_tell(wanted, program, output, dry_run=options.dry_run)


def look(word: str, argv: Sequence[str]) -> int:
    """``plaunch nodes`` and ``plaunch doctor``."""
    about = {
        "nodes": "Show the nodes of a cluster: python, torch, cores, GPUs, disk.",
        "doctor": "Check every node for what would keep a run from starting, and say what to do.",
    }
    parser = Parser(prog=f"plaunch {word}", description=about[word], allow_abbrev=False)
    add_cluster_options(parser)
    add_output_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    options = parser.parse_args(list(argv))
    from launcher.cli import nodes
    from launcher.core.console.console import Output
    from launcher.core.errors import UsageError
    from launcher.request import request

    output = Output(quiet=options.quiet, verbose=options.verbose)
    wanted = request.Wanted(cluster=options.cluster, hosts=options.hosts, nodes=options.nodes)
    try:
        return nodes.look(word, wanted, output, as_json=options.json)
    except UsageError as error:
        print(f"plaunch: {shown(str(error))}", file=sys.stderr)
        return USAGE
