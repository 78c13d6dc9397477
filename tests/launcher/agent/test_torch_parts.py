"""What torch does not promise: each part that the launcher uses is asked for by its name."""

from __future__ import annotations

import importlib
import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from launcher.agent.ranks import torch_parts
from tests.support.gloo import threads_have_names

LAUNCHER = Path(torch_parts.__file__).parents[1]


def serves_a_listening_socket() -> bool:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    store = torch_parts.store_on("127.0.0.1", port, listening.detach())
    client = torch.distributed.TCPStore("127.0.0.1", port)
    client.set("key", "value")
    return store.get("key") == b"value"


def finds_the_handlers() -> bool:
    rendezvous = importlib.import_module("torch.distributed.rendezvous")
    return callable(rendezvous._rendezvous_handlers["tcp"])


ASKS: dict[str, Callable[[], bool]] = {
    "torch/version.py: __version__ = '...'": lambda: torch_parts.find_torch() == torch.__version__,
    "torch.distributed.TCPStore(master_listen_fd)": serves_a_listening_socket,
    "torch.distributed.rendezvous._rendezvous_handlers": finds_the_handlers,
    "torch.distributed.distributed_c10d.init_process_group": lambda: callable(
        torch.distributed.distributed_c10d.init_process_group
    ),
    "threads called pt_gloo_runloop": lambda: threads_have_names(torch_parts.gloo_threads),
    "torch._dynamo": lambda: importlib.util.find_spec(torch_parts.COMPILER) is not None,
}


@pytest.mark.parametrize("name", torch_parts.PARTS)
def test_torch_has_the_part(name: str) -> None:
    """This torch has what the launcher uses of it beyond its promises."""
    try:
        problem = None if ASKS[name]() else "is another thing now"
    except (AttributeError, ImportError, KeyError, TypeError, RuntimeError) as error:
        problem = f"{type(error).__name__}: {error}"

    assert problem is None, (
        f"torch {torch.__version__}, {name}: {problem}. Without it: " + (torch_parts.PARTS[name])
    )


def test_parts_of_torch_are_used_in_one_file() -> None:
    """No other file of the launcher imports parts of torch, or names what is inside of it."""
    words = ("from torch", "import torch.", "_rendezvous_handlers", "TCPStore(", "_dynamo.")
    found = {
        (path.name, word)
        for path in LAUNCHER.rglob("*.py")
        for word in words
        if word in path.read_text() and path.name != "torch_parts.py"
    }

    assert found == set()
