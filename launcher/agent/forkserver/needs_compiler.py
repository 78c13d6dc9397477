"""Whether a program's ranks may need torch's compiler at once: then the node imports it for all.

The first optimizer and DistributedDataParallel import ``torch._dynamo``, which takes longer than
importing torch, on every rank. The engine does without on a torch that it can answer; on another
the fork server imports it once. Whether a program is one of the engine's its words tell: it is read
as far as it lies beside the script. Programs of torch itself import by themselves, as they would
without us: of eight such ranks, forked from a server that had imported it, one was seen not to end.
"""

from __future__ import annotations

import os

from launcher.agent.node.program_files import own_files

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER, UNLESS_ENGINE = "never", "unless the engine does without"

ENGINE = (
    b"import engine",
    b"from engine",
    b'"engine"',
    b"'engine'",
    b"engine.compat.legacy.trainer",
)
PICKLED_ENGINE = b"\x8c\x06engine"  # as pickle writes a name of six letters


def wants_compiler(
    kind: str, target: str, args: Sequence[str], workdir: str, pickled: bytes, compat: str | None
) -> str:
    """When the fork server shall import the compiler before it makes ranks of this program."""
    texts = [pickled, b" ".join(os.fsencode(arg) for arg in args)]
    if kind in ("script", "module"):
        texts += [text for _, text in own_files(kind, target, workdir)]
    text = b"\n".join(texts)
    is_engines = compat is not None or any(word in text for word in (*ENGINE, PICKLED_ENGINE))
    return UNLESS_ENGINE if is_engines else NEVER
