"""Short messages between ranks, through the store by which their process group was formed.

Unlike a collective, nothing here needs all ranks: a rank can leave a message, see whether others
have left theirs, and stop waiting after a while. The barriers of this package stand on it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from engine.runtime.torch_internals.torch_parts import default_store

POLL_EVERY_S = 0.005


class SharedStore:
    """The keys below one name, which must be the same on all ranks.

    Args:
        name: where the keys lie, such as "preemption/0"; not yet used for anything else.
        store: a torch.distributed.Store; by default that of the process group, looked up when
            first needed.
    """

    def __init__(self, name: str, store: Any = None) -> None:
        self._prefix = f"engine/{name}"
        self._given = store
        self._opened: Any = None

    def _open(self) -> Any:
        if self._opened is None:
            from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # it exports it

            self._opened = PrefixStore(self._prefix, self._given or default_store())
        return self._opened

    def has(self, *keys: str) -> bool:
        """Whether all of these keys are set."""
        return bool(self._open().check(list(keys)))

    def set(self, key: str, value: str = "") -> None:
        """Leave a message. On return every rank can see it."""
        store = self._open()
        store.set(key, value)
        store.check([key])  # asked on the same connection, so the message has arrived

    def get(self, key: str) -> str:
        """A message that is there."""
        return str(self._open().get(key).decode())

    def set_first(self, key: str, value: str) -> str:
        """Leave a message unless there is one already; returns the one that counts."""
        return str(self._open().compare_set(key, "", value).decode())

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which begins with 0; returns its new value."""
        return int(self._open().add(key, amount))

    def delete(self, key: str) -> None:
        """Take a message back."""
        self._open().delete_key(key)

    def wait_for(self, keys: Sequence[str], timeout_s: float) -> bool:
        """Wait until all keys are set, `timeout_s` seconds at most; whether they are."""
        give_up = time.monotonic() + timeout_s
        while not self.has(*keys):
            if time.monotonic() > give_up:
                return False
            time.sleep(POLL_EVERY_S)
        return True
