"""The ``plaunch`` command: which word is it? Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from launcher.cli.options import Parser, add_group, add_output_options, run_parser, shown
from launcher.core.exit_codes import USAGE
from launcher.core.options import WHERE

LATER = ("preempt", "stacks")
JOB_WORDS = ("status", "logs", "cancel", "prune")
NODE_WORDS = {
    "nodes": "Show the nodes of a cluster: python, torch, cores, GPUs, disk.",
    "doctor": "Check every node for what would keep a run from starting, and say what to do.",
}
WORDS = (*NODE_WORDS, *JOB_WORDS)


def main(argv: Sequence[str] | None = None) -> int:
    """The ``plaunch`` command; returns its exit code."""
    if argv is None:
        from launcher.core.limits import open_standard_streams

        open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in NODE_WORDS:
        return inspect_nodes(words[0], words[1:])
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
    from launcher.cli.run import run_typed
    from launcher.core.errors import UsageError

    try:
        return run_typed(options)
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


def inspect_nodes(word: str, argv: Sequence[str]) -> int:
    """``plaunch nodes`` and ``plaunch doctor``."""
    parser = Parser(prog=f"plaunch {word}", description=NODE_WORDS[word], allow_abbrev=False)
    add_group(parser, WHERE)
    add_output_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    typed = parser.parse_args(list(argv))
    from launcher.cli import nodes
    from launcher.core.console.console import Output
    from launcher.core.errors import UsageError
    from launcher.core.job import RunOptions

    output = Output(quiet=typed.quiet, verbose=typed.verbose)
    options = RunOptions(cluster=typed.cluster, hosts=typed.hosts, nodes=typed.nodes)
    try:
        return nodes.inspect_nodes(word, options, output, as_json=typed.json)
    except UsageError as error:
        print(f"plaunch: {shown(str(error))}", file=sys.stderr)
        return USAGE
