"""``--gpus`` as data: N | all | free[:N] | LIST | h1:LIST;h2:LIST. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from launcher.core.nodelist import NodeListError, expand

HOW = "write a number, all, free, free:N, a list such as 0,2 (3, is GPU 3 alone), or h1:0,1;h2:2,3"

_ENTRY = re.compile(r"[0-9]{1,6}|GPU-[0-9A-Za-z-]*|MIG-[0-9A-Za-z/-]*")


class GpuRequestError(ValueError):
    """A ``--gpus`` that can't be read: one line that says what to write."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"--gpus {text!r}: {problem}; {HOW}")


@dataclass(frozen=True)
class GpuRequest:
    """What ``--gpus`` asks of each node.

    ``auto`` is no word at all: every free GPU, or the CPU where there is none. ``count`` belongs
    to the kinds count and free (None: all free ones), ``entries`` to a list, in its order, and
    ``nodes`` to per_node, by name.
    """

    kind: Literal["auto", "count", "all", "free", "list", "per_node"]
    count: int | None = None
    entries: tuple[str, ...] = ()
    nodes: tuple[tuple[str, GpuRequest], ...] = ()

    @property
    def explicit(self) -> bool:
        """Whether it names its GPUs: those are taken although they are busy."""
        return self.kind in ("all", "list")

    def __str__(self) -> str:
        if self.count is not None:
            number = f"{self.count} GPU{'' if self.count == 1 else 's'}"
            return number if self.kind == "count" else number.replace(" ", " free ")
        words = {"all": "all GPUs", "free": "the free GPUs", "auto": "a free GPU"}
        return words.get(self.kind, f"GPU {','.join(self.entries)}")


def parse(text: str | None) -> GpuRequest:
    """Read ``--gpus``; None is no such option. Raises GpuRequestError.

    A number counts GPUs (0 is the CPU); with a comma it is a list, so ``3,`` is GPU 3. Behind a
    node's name any of the forms may stand, and the name may have ranges: ``h[1-4]:2;h5:0,1``.
    """
    if text is None:
        return GpuRequest("auto")
    if ":" in text and not text.strip().startswith("free:"):
        return _parse_nodes(text)
    return _parse_one(text.strip(), text)


def _parse_one(part: str, text: str) -> GpuRequest:
    if part in ("all", "free"):
        return GpuRequest("all" if part == "all" else "free")
    if part.startswith("free:"):
        count = _number(part.removeprefix("free:"), text)
        if count == 0:
            raise GpuRequestError(text, "no free GPUs at all are not worth asking for")
        return GpuRequest("free", count)
    if "," in part or part.startswith(("GPU-", "MIG-")):
        return GpuRequest("list", entries=_entries(part, text))
    return GpuRequest("count", _number(part, text))


def _entries(part: str, text: str) -> tuple[str, ...]:
    entries = [entry.strip() for entry in part.removesuffix(",").split(",")]
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            problem = f"{entry!r} is no GPU" if entry else "a GPU is missing between commas"
            raise GpuRequestError(text, problem)
    entries = [str(int(entry)) if entry.isdigit() else entry for entry in entries]
    for i, entry in enumerate(entries):
        if entry in entries[:i]:
            raise GpuRequestError(text, f"GPU {entry} is there twice")
    return tuple(entries)


def _number(part: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", part):
        problem = "all GPUs are called all" if part == "-1" else f"{part!r} is no number of GPUs"
        if re.fullmatch(r"[0-9]+-[0-9]+", part):
            problem = f"{part!r}: GPUs are listed one by one, with commas"
        raise GpuRequestError(text, problem)
    return int(part)


def _parse_nodes(text: str) -> GpuRequest:
    nodes: dict[str, GpuRequest] = {}
    for part in text.removesuffix(";").split(";"):
        # The last colon: an IPv6 address as a name has colons of its own.
        names, _, wanted = part.strip().rpartition(":")
        if names.endswith(":free"):
            names, wanted = names.removesuffix(":free"), f"free:{wanted}"
        try:
            expanded = [names] if ":" in names else expand(names)
        except NodeListError as error:
            raise GpuRequestError(text, str(error)) from error
        if not expanded:
            raise GpuRequestError(text, f"no node is named before {part.strip()!r}")
        for name in expanded:
            if name in nodes:
                raise GpuRequestError(text, f"node {name} is there twice")
            nodes[name] = _parse_one(wanted.strip(), text)
    return GpuRequest("per_node", nodes=tuple(nodes.items()))
