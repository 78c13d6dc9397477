"""OpenSSH's known_hosts files, read: which keys may a host show?

Plain and hashed names, ``[host]:port``, wildcards, negations and ``@revoked``. Certificate
authorities are not among them: paramiko does not ask servers for host certificates.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file that speaks of a host; ``key`` is in base64."""

    file: str
    line: int
    key_type: str
    key: str
    revoked: bool = False

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint as ssh-keygen shows it."""
        try:
            digest = hashlib.sha256(base64.b64decode(self.key)).digest()
        except ValueError:
            return "no key at all"
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def known_keys(files: Iterable[str], name: str) -> list[KnownKey]:
    """All keys that the files hold for ``name`` (a host, or ``[host]:port``)."""
    found = []
    for file in files:
        try:
            lines = Path(file).read_text(errors="replace").splitlines()
        except OSError:
            continue  # a file that isn't there knows nobody
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if len(fields) < 3 or line.lstrip().startswith("#") or marker == "@cert-authority":
                continue
            if _names(fields[0], name.lower()):
                found.append(KnownKey(file, number, fields[1], fields[2], marker == "@revoked"))
    return found


def key_name(host: str, port: int) -> str:
    """The name that known_hosts files have for a server."""
    return host if port == 22 else f"[{host}]:{port}"


def _names(patterns: str, name: str) -> bool:
    """Whether a line that begins with ``patterns`` speaks of ``name``."""
    matched = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            matched = matched or _is_hash_of(pattern, name)
        elif pattern.startswith("!"):
            if _like(pattern[1:], name):
                return False
        else:
            matched = matched or _like(pattern, name)
    return matched


def _like(pattern: str, name: str) -> bool:
    # Not fnmatch: here brackets are part of a name.
    expression = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


def _is_hash_of(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
