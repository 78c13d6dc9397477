"""What the launcher takes of torch that torch does not promise: all of it is here.

Its source runs in the fork server, in the store's process and in ranks, between that of ``warm``
and of ``rank``. ``PARTS`` says what happens when a new torch has one of them no longer; the test of
this file asks the torch that it runs with for each, so that it is a name that fails.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as type checkers know it: a program may bring a typing.py of its own
if TYPE_CHECKING:
    from typing import Any

PARTS = {
    "torch/version.py: __version__ = '...'": "preflight says of torch that its version is unknown",
    "torch.distributed.TCPStore(master_listen_fd)": "no run of several ranks starts: the store's "
    "process ends, and the run says so",
    "torch.distributed.rendezvous._rendezvous_handlers": "init_process_group on a port of the "
    "program's own waits for a store that nobody hosts",
    "torch._dynamo": "the fork server has nothing to import for all ranks: they start cold",
}
COMPILER = "torch._dynamo"


def find_torch() -> str | None:
    """The version of the torch that an import would find, without importing it."""
    import importlib.util
    import re

    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "version.py")) as file:
            found = re.search(r"__version__ = '([^']+)'", file.read())
    except OSError:
        found = None
    return found[1] if found else "unknown"


def store_on(fd: int) -> Any:
    """A TCPStore that serves a listening socket."""
    import socket
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it

    host, port, _ = (*socket.socket(fileno=os.dup(fd)).getsockname(), None)[:3]
    half_an_hour = timedelta(minutes=30)
    options: Any = {"is_master": True, "wait_for_workers": False, "timeout": half_an_hour}
    try:
        return TCPStore(host, port, master_listen_fd=os.dup(fd), **options)
    except RuntimeError:
        # In torch 2.4 and 2.6 the newer of two servers, the default, takes no socket that listens.
        # The older one speaks the same language.
        return TCPStore(host, port, master_listen_fd=fd, use_libuv=False, **options)


def host_own_stores(rendezvous: Any, of_launcher: str | None) -> None:
    """Let ``tcp://`` and ``env://`` work for an address of the program's own.

    We set TORCHELASTIC_USE_AGENT_STORE, with which torch takes every address for that of the
    launcher's store and lets no rank host one. Old programs set MASTER_PORT themselves.
    ``of_launcher``: the port of that store.
    """
    handlers = getattr(rendezvous, "_rendezvous_handlers", {})
    name = "TORCHELASTIC_USE_AGENT_STORE"

    def hosting(original: Any, is_tcp: bool) -> Any:
        def handler(url: str, *args: Any, **kwargs: Any) -> Any:
            from urllib.parse import urlparse

            port = str(urlparse(url).port) if is_tcp else os.environ.get("MASTER_PORT")
            if port == of_launcher or name not in os.environ:
                yield from original(url, *args, **kwargs)
                return
            value = os.environ.pop(name)
            try:
                answer = next(iter(original(url, *args, **kwargs)))
            finally:
                os.environ[name] = value
            yield answer

        return handler

    for scheme in ("tcp", "env"):
        if scheme in handlers:
            handlers[scheme] = hosting(handlers[scheme], scheme == "tcp")


def watch_rendezvous_import() -> None:
    """Do the same once torch is imported, when it is not yet (a cold start)."""
    name, port = "torch.distributed.rendezvous", os.environ.get("MASTER_PORT")
    if name in sys.modules:
        host_own_stores(sys.modules[name], port)
        return

    class Watch:
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
            if fullname != name:
                return None
            sys.meta_path.remove(self)
            import importlib.util

            spec = importlib.util.find_spec(fullname)
            if spec is not None and spec.loader is not None:
                run = spec.loader.exec_module

                def exec_module(module: Any) -> None:
                    run(module)
                    host_own_stores(module, port)

                spec.loader.exec_module = exec_module  # type: ignore[method-assign]
            return spec

    sys.meta_path.insert(0, Watch())
