"""The fork server and its orders."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from launcher.agent.forkserver.client import SERVER, ForkServer

ROOT = Path(__file__).parents[3]
SOURCES = tuple((ROOT / name.replace(".", "/")).with_suffix(".py").read_text() for name in SERVER)
LARGE = 40_000  # bytes of an order: more than one packet of a socket, less than one read


def test_orders_that_come_together_are_all_obeyed(tmp_path: Path) -> None:
    """A large order and the next one are sent before the first is read: both become ranks."""
    env = {name: value for name, value in os.environ.items() if name != "PLAUNCH_SOCKET"}
    server = ForkServer(sys.executable, SOURCES, [], env, str(tmp_path))
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for number in range(2):
            program = f"import os; os.write(1, b'{number}\\n')"
            path = tmp_path / f"{number}.py"
            path.write_text(program + "\n")
            order = {
                "op": "fork",
                "kind": "script",
                "target": str(path),
                "args": [],
                "compat": None,
            }
            order |= {
                "id": str(number),
                "cwd": None,
                "env": {"FILLS": "x" * (0 if number else LARGE)},
            }
            server.send({**order, "directory": None}, [null, write, null])
        os.close(write)
        said = b""
        while len(said) < 4:
            assert select.select([read], [], [], 20)[0], f"after 20 s only {said!r}"
            said += os.read(read, 100)

        assert sorted(said.split()) == [b"0", b"1"]
        # No rank holds the streams of another one: with the ranks' ends this is the end of them.
        assert select.select([read], [], [], 60)[0]
        assert os.read(read, 100) == b""
    finally:
        server._sock.close()  # its end
        os.waitpid(server.pid, 0)
        os.close(read)
        os.close(null)
