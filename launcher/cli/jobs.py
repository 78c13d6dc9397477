"""``plaunch status``, ``logs``, ``cancel`` and ``prune``: their words to calls."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from launcher.core.exit_codes import INTERRUPTED, NOT_AS_ASKED, USAGE

WORDS = ("status", "logs", "cancel", "prune")

ABOUT = {
    "status": "Show how jobs are: all recent ones, or these in detail.",
    "logs": "Show what the ranks of a job have printed.",
    "cancel": "End jobs, and wait until they are gone.",
    "prune": "Remove the folders of old runs that are over, and what is noted of them. Only run "
    "folders are touched; of one that you have named by --run-dir only what plaunch wrote there.",
}
EPILOG = """\
JOB is plaunch's job id, a SLURM job id (12, or 10_1 for a task of an array), or a run's folder.
exit codes: 0; 2 no such job; 3 SLURM or the job's host would have to answer, and can't
"""


def main(word: str, argv: Sequence[str], parser_class: type[argparse.ArgumentParser]) -> int:
    """Do what the word says; returns the exit code."""
    options = parser(word, parser_class).parse_args(list(argv))
    from launcher.clusters.slurm.client import SlurmError, trouble
    from launcher.core.console.console import Output
    from launcher.core.errors import UsageError

    output = Output()
    try:
        return _call(word, options)(output)
    except UsageError as error:
        output.error(str(error))
        return USAGE
    except SlurmError as error:
        output.error(trouble(error))
        return NOT_AS_ASKED
    except KeyboardInterrupt:
        return INTERRUPTED


def parser(word: str, parser_class: type[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The parser of one word."""
    found = parser_class(
        prog=f"plaunch {word}",
        description=ABOUT[word],
        epilog=EPILOG if word != "prune" else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if word == "prune":
        found.add_argument(
            "--older", type=_age, required=True, metavar="AGE", help="such as 30d, 12h or 2w"
        )
        found.add_argument("--failed", action="store_true", help="only runs that failed or died")
        found.add_argument("--dry-run", action="store_true", help="show what would be removed")
    elif word == "logs":
        found.add_argument("job", metavar="JOB")
        found.add_argument("--rank", type=_number, metavar="N", help="only this rank, untagged")
        found.add_argument("-f", "--follow", action="store_true", help="until the job is over")
        found.add_argument("--tail", type=_number, metavar="N", help="only each one's last N lines")
    else:
        found.add_argument("jobs", metavar="JOB", nargs="*" if word == "status" else "+")
    if word == "status":
        found.add_argument("--all", action="store_true", help="old ones, too")
    found.add_argument("--json", action="store_true", help="as JSON, for programs")
    return found


def _call(word: str, options: argparse.Namespace) -> Callable[..., int]:
    """What to call with an Output."""
    if word == "status":
        from launcher.cli.status import status

        return lambda output: status(
            options.jobs, output, everything=options.all, as_json=options.json
        )
    if word == "prune":
        from launcher.cli.prune import prune

        return lambda output: prune(
            options.older,
            output,
            failed=options.failed,
            dry_run=options.dry_run,
            as_json=options.json,
        )
    if word == "cancel":
        from launcher.cli.cancel import cancel

        return lambda output: cancel(options.jobs, output, as_json=options.json)
    from launcher.cli.logs import logs

    return lambda output: logs(
        options.job,
        output,
        rank=options.rank,
        follow=options.follow,
        tail=options.tail,
        as_json=options.json,
    )


def _age(text: str) -> float:
    from launcher.cli.prune import seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)
