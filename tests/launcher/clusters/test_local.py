"""The embedded local cluster: this machine's nodes as child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.clusters.base import Cluster, Stream
from launcher.clusters.local import LocalCluster, LocalStream, local_nodes
from launcher.core.errors import NodeError

DEADLINE_S = 20.0
Connect = Callable[..., LocalStream]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Starts Python code on a local node; whatever still runs at the end of the test is ended."""
    streams: list[LocalStream] = []

    def start(code: str, env: dict[str, str] | None = None) -> LocalStream:
        cluster = LocalCluster()
        stream = cluster.connect(cluster.nodes()[0], [sys.executable, "-c", code], env or {})
        streams.append(stream)
        return stream

    yield start
    for stream in streams:
        stream.close()
        if stream.wait(0) is None:
            os.kill(stream.pid, signal.SIGKILL)
        assert stream.wait(DEADLINE_S) is not None


def read_all(stream: Stream) -> bytes:
    return b"".join(iter(lambda: stream.read(65536), b""))


def in_thread(action: Callable[[], Any]) -> Callable[[], Any]:
    """Run ``action`` in a thread; the returned function waits for what it returned or raised."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append(action())
        except OSError as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(DEADLINE_S)
        assert done, "the thread still waits"
        return done[0]

    return result


def test_the_local_cluster_keeps_the_protocol() -> None:
    """LocalCluster and its streams satisfy the protocols that the controller relies on."""
    cluster: Cluster = LocalCluster(2)

    assert cluster.name == "local"
    assert [node.name for node in cluster.nodes()] == ["local0", "local1"]
    cluster.close()


def test_a_single_node_carries_the_host_name() -> None:
    """One local node is called like the machine, and runs this interpreter in this folder."""
    (node,) = local_nodes(1)

    assert (node.name, node.python) == (os.uname().nodename, sys.executable)
    assert node.workdir == os.getcwd()


def test_a_cluster_without_nodes_is_refused() -> None:
    """Zero nodes is an error, not an empty cluster."""
    with pytest.raises(ValueError, match="at least one node"):
        local_nodes(0)


def test_bytes_go_both_ways_and_the_exit_code_comes_back(connect: Connect) -> None:
    """What is written arrives, the answer comes back, and so does the exit code."""
    stream = connect(
        "import sys; data = sys.stdin.buffer.read(3); sys.stdout.buffer.write(data * 2);"
        "sys.stdout.flush(); sys.exit(7)"
    )

    stream.write(b"abc")

    assert read_all(stream) == b"abcabc"
    assert stream.wait(DEADLINE_S) == 7


def test_a_megabyte_larger_than_any_pipe_arrives_whole(connect: Connect) -> None:
    """Writing waits for a slow reader instead of losing the rest."""
    stream = connect("import sys; print(len(sys.stdin.buffer.read(3_000_000)))")

    stream.write(bytes(3_000_000))

    assert read_all(stream) == b"3000000\n"


def test_a_signal_is_a_negative_exit_code(connect: Connect) -> None:
    """A process that a signal ended is told apart from one that exited."""
    stream = connect("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert read_all(stream) == b""
    assert stream.wait(DEADLINE_S) == -signal.SIGKILL


def test_waiting_ends_at_the_timeout(connect: Connect) -> None:
    """The exit code of a process that still runs is unknown, not an error."""
    stream = connect("input()")

    assert stream.wait(0.01) is None


def test_closing_is_the_end_of_input_for_the_process(connect: Connect) -> None:
    """A process that reads from a closed stream sees the end; closing twice is harmless."""
    stream = connect("import sys; sys.stdin.read(); sys.exit(5)")

    stream.close()
    stream.close()

    assert stream.wait(DEADLINE_S) == 5


def test_closing_wakes_a_reader_although_the_process_is_stopped(connect: Connect) -> None:
    """A thread that waits for a frozen process is freed by close, and then reads the end."""
    stream = connect("print('u', end='', flush=True); input()")
    assert stream.read(1) == b"u"
    os.kill(stream.pid, signal.SIGSTOP)
    read = in_thread(lambda: stream.read(100))

    stream.close()

    assert read() == b""
    assert stream.read(100) == b""


def test_closing_wakes_a_writer_whose_process_does_not_read(connect: Connect) -> None:
    """A thread that is stuck in write gets an OSError when the stream is closed."""
    stream = connect("import signal; print('u', end='', flush=True); signal.pause()")
    assert stream.read(1) == b"u"
    write = in_thread(lambda: stream.write(bytes(1_000_000)))

    stream.close()

    assert isinstance(write(), OSError)


def test_writing_to_a_process_that_has_gone_is_an_oserror(connect: Connect) -> None:
    """A broken pipe is an OSError, never a signal and never silence."""
    stream = connect("")
    assert stream.wait(DEADLINE_S) == 0

    with pytest.raises(OSError):
        stream.write(bytes(100))


def test_errors_keeps_the_last_ten_kilobytes(connect: Connect) -> None:
    """Of a flood on standard error the end is kept, and the flood blocks nothing."""
    stream = connect("import sys; sys.stderr.write('x' * 1_000_000 + 'the end')")
    assert stream.wait(DEADLINE_S) == 0

    errors = stream.errors()

    assert len(errors) == 10_000
    assert errors.endswith("xthe end")


def test_each_process_has_a_session_of_its_own(connect: Connect) -> None:
    """Ctrl-C at the terminal reaches the launcher only, not the agents."""
    stream = connect("import os; print(os.getsid(0) == os.getpid())")

    assert read_all(stream) == b"True\n"


def test_a_given_environment_is_the_whole_environment(connect: Connect) -> None:
    """Nothing of ours leaks into a process that was given an environment."""
    stream = connect(
        "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))", env={"ONLY": "this"}
    )

    assert read_all(stream) == b"['ONLY']\n"


def test_without_an_environment_it_inherits_ours(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty environment means ours."""
    monkeypatch.setenv("FROM_THE_CALLER", "a b\n$(c)")
    stream = connect("import os; print(repr(os.environ['FROM_THE_CALLER']))")

    assert read_all(stream) == b"'a b\\n$(c)'\n"


def test_no_other_descriptor_reaches_the_process(connect: Connect) -> None:
    """A file that we hold open, even an inheritable one, isn't open in the process."""
    kept, other = os.pipe()
    os.set_inheritable(kept, True)
    stream = connect("import os; print(len(os.listdir('/proc/self/fd')))")

    # 0, 1, 2 and the one that lists the folder
    assert read_all(stream) == b"4\n"
    os.close(kept)
    os.close(other)


def test_a_missing_interpreter_names_the_node_and_the_file() -> None:
    """What can't be started is one clear error about that node."""
    cluster = LocalCluster(2)

    with pytest.raises(NodeError, match=r"local1: can't start /no/python: No such file"):
        cluster.connect(cluster.nodes()[1], ["/no/python"], {})


def test_it_is_light_to_import() -> None:
    """The start of every local run imports this: none of the slow modules comes with it."""
    code = "import launcher.clusters.local, sys; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-S", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    ).stdout.split()

    assert not {"socket", "asyncio", "logging", "tempfile", "json", "yaml"} & set(modules)
