"""What the launcher takes of torch that torch does not promise: all of it is here.

Its source runs in the fork server, in the store's process and in ranks, between that of the
fork server and of ``rank``. ``PARTS`` says what happens when a new torch has one of them no longer;
the test of this file asks the torch that it runs with for each, so that it is a name that fails.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as type checkers know it: a program may bring a typing.py of its own
if TYPE_CHECKING:
    from typing import Any

    from launcher.agent.ranks.rank import report  # one name space with ours

PARTS = {
    "torch/version.py: __version__ = '...'": "preflight says of torch that its version is unknown",
    "torch.distributed.TCPStore(master_listen_fd)": "no run of several ranks starts: the store's "
    "process ends, and the run says so",
    "torch.distributed.rendezvous._rendezvous_handlers": "init_process_group on a port of the "
    "program's own waits for a store that nobody hosts",
    "torch.distributed.distributed_c10d.init_process_group": "nothing is said of ranks that never "
    "meet, and not what a rank waits for",
    "threads called pt_gloo_runloop": "a program may hang as it ends, as it does without us",
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


def store_on(host: str, port: int, fd: int) -> Any:
    """A TCPStore that serves a listening socket, with a client of its own to `host` and `port`."""
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it

    half_an_hour = timedelta(minutes=30)
    options: Any = {"is_master": True, "wait_for_workers": False, "timeout": half_an_hour}
    try:
        return TCPStore(host, port, master_listen_fd=os.dup(fd), **options)
    except RuntimeError:
        # In torch 2.4 and 2.6 the newer of two servers, the default, takes no socket that listens.
        # The older one speaks the same language.
        return TCPStore(host, port, master_listen_fd=os.dup(fd), use_libuv=False, **options)


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


GLOO_THREADS = "pt_gloo_runloop"  # they run collectives, and free the tensors of those
IDLE_S = 0.011  # who waits for the interpreter's lock stirs every 5 ms
SETTLE_S = 2.0
UNKNOWN_S = 0.05  # where threads have no such names, as in torch 2.9: nearly always long enough


def gloo_threads() -> list[tuple[str, ...]]:
    """What the kernel knows of gloo's threads: state, and how often each has been switched to."""
    found = []
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:  # a container without /proc
        return []
    for task in tasks:
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                if file.read().strip() != GLOO_THREADS:
                    continue
            with open(f"/proc/self/task/{task}/status") as file:
                lines = [
                    line.split() for line in file if line.startswith(("State", "volun", "nonv"))
                ]
            found.append((task, *(line[1] for line in lines)))
        except OSError:  # it has ended
            continue
    return found


def settle() -> bool:
    """Wait, without the interpreter's lock, until gloo's threads have nothing left to do.

    Returns whether there are any. Such a thread may need that lock to free the tensors of the last
    collective, while the main thread, which has it, ends the process group and waits for that
    thread: seen in one of three runs of eight ranks on two cores, which then never end.
    """
    import time

    give_up = time.monotonic() + SETTLE_S
    before = gloo_threads()
    while before and time.monotonic() < give_up:
        time.sleep(IDLE_S)
        now = gloo_threads()
        if now == before and all(state == "S" for _, state, *_ in now):
            break
        before = now
    return bool(before)


def end_well(distributed: Any) -> None:
    """Let gloo's threads settle before the process group ends, and before the interpreter does.

    ``distributed``: torch.distributed.distributed_c10d, before others take its names.
    """
    import atexit

    destroy = distributed.destroy_process_group

    def destroy_process_group(group: Any = None) -> None:
        if not settle():
            import time

            time.sleep(UNKNOWN_S)
        destroy(group)

    destroy_process_group.__doc__ = destroy.__doc__
    for module in (distributed, sys.modules.get("torch.distributed")):
        if getattr(module, "destroy_process_group", None) is destroy:
            module.destroy_process_group = destroy_process_group  # type: ignore[union-attr]  # it has one
    atexit.register(settle)  # before all of the program's own, so after them


def tell_of_groups(distributed: Any) -> None:
    """Tell the agent when this rank begins to wait for a process group, and when it has joined one.

    ``distributed``: torch.distributed.distributed_c10d, before others take its names.
    """
    original = getattr(distributed, "init_process_group", None)
    if original is None:
        return
    import functools

    @functools.wraps(original)
    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        report(lambda: {"type": "phase", "phase": "init_process_group"})
        found = original(*args, **kwargs)
        phase = "joined" if distributed.get_world_size() > 1 else "alone"
        report(lambda: {"type": "phase", "phase": phase})
        return found

    for module in (distributed, sys.modules.get("torch.distributed")):
        if getattr(module, "init_process_group", None) is original:
            module.init_process_group = init_process_group  # type: ignore[union-attr]  # it has one


def mend_groups(distributed: Any) -> None:
    """What is changed of torch.distributed.distributed_c10d."""
    end_well(distributed)
    tell_of_groups(distributed)


def watch_imports() -> None:
    """Mend torch.distributed once it is imported, or now if it is (a warm start)."""
    port = os.environ.get("MASTER_PORT")
    watched = {
        "torch.distributed.rendezvous": lambda module: host_own_stores(module, port),
        "torch.distributed.distributed_c10d": mend_groups,
    }
    for name in [name for name in watched if name in sys.modules]:
        watched.pop(name)(sys.modules[name])

    class Watch:
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
            mend = watched.pop(fullname, None)
            if mend is None:
                return None
            if not watched:
                sys.meta_path.remove(self)
            import importlib.util

            spec = importlib.util.find_spec(fullname)
            if spec is not None and spec.loader is not None:
                run = spec.loader.exec_module

                def exec_module(module: Any) -> None:
                    run(module)
                    mend(module)

                spec.loader.exec_module = exec_module  # type: ignore[method-assign]
            return spec

    if watched:
        sys.meta_path.insert(0, Watch())
