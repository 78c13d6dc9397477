"""The command line's options: parsers, groups and converters; those of a run by their one table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from launcher.core.exit_codes import USAGE
from launcher.core.options import KEEP, OPTIONS, RAY, SLURM, WHAT, WHEN, WHERE, Kind, Option

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

LONG = 400  # characters of a message that are worth reading
GROUPS = (WHERE, RAY, WHAT, WHEN, KEEP, SLURM)  # in the order of --help


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
        at = end_of_options(words, takes_value)
        typed = self.parse_args(list(words[:at]))
        rest = list(words[at:])
        if rest[:1] == ["--"]:
            del rest[0]
        typed.program, typed.args = (rest[0], rest[1:]) if rest else (None, [])
        return typed

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """What an option is given; argparse itself drops a value that is ``--``."""
        if action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)


def first_unknown(words: Sequence[str], takes_value: Mapping[str, bool]) -> str | None:
    """The first word in an option's place, before the program, that is no option of ours.

    ``takes_value`` has all our options and whether each needs a value.
    """
    at = end_of_options(words, takes_value)
    word = words[at] if at < len(words) else "-"
    return word if word.startswith("-") and word not in ("-", "--") else None


def end_of_options(words: Sequence[str], takes_value: Mapping[str, bool]) -> int:
    """The place of the first word that is no option of ours, nor the value of one."""
    at = 0
    while at < len(words):
        name, equals, _ = words[at].partition("=")
        if name not in takes_value:
            return at
        at += 2 if takes_value[name] and not equals else 1
    return len(words)


def shown(text: str) -> str:
    """A message for a person: no more than can be read, and nothing that a terminal obeys."""
    from launcher.core.console.terminal import paragraph

    middle = "" if len(text) <= LONG else " [...] "
    return paragraph(text if not middle else text[: LONG // 2] + middle + text[-LONG // 2 :])


def nodes_range(text: str) -> tuple[int, int]:
    """``4`` or ``2:4``."""
    least, _, most = text.partition(":")
    try:
        nodes = int(least), int(most or least)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor MIN:MAX") from None
    if not 1 <= nodes[0] <= nodes[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: at least one node, and MIN up to MAX")
    return nodes


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
        duration = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= duration < 1e10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 1e10")
    return duration


# How the values of each kind are read. Kinds that are left out need no converter of argparse's.
KINDS: dict[Kind, dict[str, Any]] = {
    "text": {},
    "choice": {},
    "ranks": {},
    "texts": {"action": "append", "default": []},
    "variables": {"action": "append", "default": []},
    "flag": {"action": "store_true"},
    "count": {"type": count},
    "number": {"type": restarts},
    "seconds": {"type": seconds},
    "nodes": {"type": nodes_range},
}


def add_option(group: argparse._ArgumentGroup, name: str, option: Option) -> None:
    """Add one option of a run to a group of a parser. Not typed, it is None, [] or False."""
    how = dict(KINDS[option.kind])
    if option.choices:
        how["choices"] = option.choices
    elif option.metavar is not None:
        how["metavar"] = option.metavar
    group.add_argument(*option.words, dest=name, help=option.help, **how)


def add_group(
    parser: argparse.ArgumentParser,
    title: str,
    after: Mapping[str, Callable[[argparse._ArgumentGroup], None]] | None = None,
) -> None:
    """Add a group of a run's options. ``after`` adds others behind some of them, by name."""
    group = parser.add_argument_group(title)
    for name, option in OPTIONS.items():
        if option.group == title:
            add_option(group, name, option)
            if after and name in after:
                after[name](group)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """How much to say."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--verbose", action="store_true", help="say more")
    how.add_argument("--quiet", action="store_true", help="only the ranks' output and errors")


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
    for title in GROUPS:
        add_group(parser, title, {"procs": _add_kinds_of_program, "preload": _add_compat})
    parser.add_argument("--dry-run", action="store_true", help="show what would run, and stop")
    add_output_options(parser)
    parser.add_argument("--standalone", action="store_true", help=argparse.SUPPRESS)
    # in a batch script of ours: the pickled function of a launch()
    parser.add_argument("--function", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("program", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("args", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _add_kinds_of_program(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-m", "--module", action="store_true", help="run a module, like python -m")
    group.add_argument("--no-python", "--no_python", action="store_true", help="run any program")


def _add_compat(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--compat",
        metavar="NAME",
        help="run a program written for pytorch_lightning (or lightning) on the engine, unedited",
    )
