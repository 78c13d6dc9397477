"""An SSH session as paramiko has it, with two things mended.

- It keeps the signals by which remote programs died; paramiko drops them.
- Several threads may use and close tunnels through one jump host: after a channel's CLOSE nothing
  more is sent on it. paramiko lets data slip behind it, upon which sshd ends the whole connection,
  with the tunnels of all other nodes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_REQUEST

_ORDER_TIMEOUT_S = 1.0  # a sender may wait for new session keys, and those for the session's thread


class Session(paramiko.Transport):
    """A transport that knows of signals, and of the order on its tunnels."""

    def __init__(self, wire: Any) -> None:
        super().__init__(wire)
        self.exit_signals: dict[int, int] = {}  # channel number -> signal number
        self.orders: dict[int, threading.Lock] = {}  # channel number -> held while it sends

    def _on_request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        start = message.packet.tell()
        if message.get_text() == "exit-signal":
            message.get_boolean()
            name = message.get_text()
            number = getattr(signal, f"SIG{name}", signal.SIGKILL)
            self.exit_signals[channel.chanid] = int(number)
            channel.status_event.set()
            return
        message.packet.seek(start)
        channel._handle_request(message)  # type: ignore[attr-defined]  # not in its stubs

    def _on_close(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        order = self.orders.pop(channel.chanid, None)
        with contextlib.ExitStack() as stack:
            if order is not None and order.acquire(timeout=_ORDER_TIMEOUT_S):
                stack.callback(order.release)
            channel._handle_close(message)  # type: ignore[attr-defined]  # not in its stubs

    # The only place to hear of messages on channels.
    _channel_handler_table = {  # noqa: RUF012  (paramiko's own attribute, never changed)
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # not in its stubs
        MSG_CHANNEL_REQUEST: lambda channel, message: channel.transport._on_request(
            channel, message
        ),
        MSG_CHANNEL_CLOSE: lambda channel, message: channel.transport._on_close(channel, message),
    }


class Tunnel:
    """A connection from a jump host on, to be used like a socket."""

    def __init__(self, session: Session, place: tuple[str, int], timeout_s: float) -> None:
        self._channel = session.open_channel(
            "direct-tcpip", place, ("127.0.0.1", 0), timeout=timeout_s
        )
        self._order = session.orders.setdefault(self._channel.chanid, threading.Lock())
        self.settimeout, self.recv = self._channel.settimeout, self._channel.recv

    def send(self, data: bytes) -> int:
        """Send some of ``data``."""
        with self._order:
            return self._channel.send(data)

    def close(self) -> None:
        """Say goodbye, which may have to wait for a cable; that nobody hears it is no news."""
        with self._order, contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            self._channel.close()

    @property
    def _closed(self) -> bool:  # as sockets have it; paramiko asks
        return self._channel.closed
