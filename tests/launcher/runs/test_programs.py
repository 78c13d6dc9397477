"""Any torchrun program runs unchanged: names of its own, workers, rendezvous, prompts, forms."""

from __future__ import annotations

import contextlib

import pytest

from tests.launcher.support.runs import Launcher


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_modules_of_the_programs_own_win(plaunch: Launcher, start: str) -> None:
    """Its engine.py and launcher.py are what it imports, beside the script and in packages."""
    plaunch.write("app/engine.py", "NAME = 'my engine'\n")
    plaunch.write("app/launcher/__init__.py", "NAME = 'my launcher'\n")
    plaunch.write(
        "app/main.py",
        """
        import engine, launcher, os, time
        print(engine.NAME, launcher.NAME, flush=True)
        if os.environ["RANK"] == "1":
            open("said", "w").close()
            time.sleep(600)
        while not os.path.exists("said"): time.sleep(0.01)
        from engine import Trainer
        """,
    )
    done = plaunch("--start", start, "--procs", "2", "app/main.py")
    assert done.out.count("my engine my launcher") == 2
    assert done.code == 1
    assert done.verdict["exception"]["type"] == "ImportError"
    assert "'engine' is your own" in done.err
    assert "app/engine.py" in done.err


def test_files_that_shadow_the_standard_library(plaunch: Launcher) -> None:
    """selectors.py, json.py and others beside the script win, and one line says so."""
    for name in ("selectors", "json", "socket", "signal", "array"):
        plaunch.write(f"{name}.py", f"raise ImportError('{name}.py of the program was imported')\n")
    plaunch.write("ours.py", "print('not imported')\n")
    plaunch.write("main.py", "import sys\nprint('fine', 'json' in sys.modules)\n")
    done = plaunch("--procs", "2", "main.py").ok()
    assert done.out.count("fine False") == 2
    assert done.err.count("starting cold") == 1
    assert ".py" in done.err
    plaunch.write("main.py", "import json\n")
    done = plaunch("main.py")
    assert done.code == 1
    assert "json.py of the program was imported" in done.err
    assert done.verdict["kind"] == "exception"


def test_a_current_folder_that_shadows(plaunch: Launcher) -> None:
    """Such files in the current folder matter to nobody when the script lies elsewhere."""
    for name in ("selectors", "json", "torch", "random"):
        plaunch.write(f"{name}.py", "raise SystemExit('shadowed')\n")
    plaunch.write("app/main.py", "import json, torch\nprint('fine', torch.ones(1).item())\n")
    done = plaunch("--procs", "2", "app/main.py").ok()
    assert done.out.count("fine 1.0") == 2
    assert "cold" not in done.err


RENDEZVOUS = """
import os, sys, torch, torch.distributed as dist
from datetime import timedelta
how = sys.argv[1]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
more = {"timeout": timedelta(seconds=60)}
if how == "env":
    dist.init_process_group("gloo", init_method="env://", **more)
elif how == "tcp":
    port = os.environ["MASTER_PORT"]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                            world_size=world, **more)
else:
    if rank == 0:
        import socket
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            open("port.part", "w").write(str(sock.getsockname()[1]))
        os.rename("port.part", "port")
    while not os.path.exists("port"): pass
    port = open("port").read()
    if how == "own port":
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                                world_size=world, **more)
    else:
        os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=port)
        dist.init_process_group("gloo", **more)
total = torch.tensor([rank + 1])
dist.all_reduce(total)
print("total", total.item())
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("start", "how"),
    [
        ("warm", "env"),
        ("warm", "tcp"),
        ("warm", "own port"),
        ("cold", "tcp"),
        ("cold", "own port"),
        ("warm", "own MASTER_PORT"),
    ],
)
def test_every_way_to_meet(plaunch: Launcher, start: str, how: str) -> None:
    """env://, tcp:// with MASTER_PORT, and both with a port of the program's own."""
    plaunch.write("main.py", RENDEZVOUS)
    done = plaunch("--start", start, "--procs", "2", "main.py", how).ok()
    assert done.out.count("total 3") == 2
    assert "independent copies" not in done.err


STARTS_ITS_OWN = """
import os, socket, torch, torch.distributed as dist, torch.multiprocessing as mp
from datetime import timedelta
more = {"timeout": timedelta(seconds=60)}

def work(rank, port):
    if port is not None:
        os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2, **more)
    total = torch.tensor([rank + 1])
    dist.all_reduce(total)
    print(f"total {total.item()}\\n", end="", flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    assert os.environ["TORCHELASTIC_RUN_ID"]
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    for turn in range(2):  # the rank itself, once more
        dist.init_process_group("gloo", **more)
        dist.barrier()
        dist.destroy_process_group()
    mp.start_processes(work, args=(port,), nprocs=2, start_method="spawn")
    mp.start_processes(work, args=(None,), nprocs=2, start_method="fork")
"""


def test_one_rank_may_start_ranks_of_its_own(plaunch: Launcher) -> None:
    """With a MASTER_PORT of their own or with the job's, spawned or forked: they meet, where
    torchrun's ranks wait for a store that nobody hosts; the rank's own group can be made anew."""
    plaunch.write("main.py", STARTS_ITS_OWN)
    done = plaunch("--procs", "1", "main.py").ok()
    assert done.out.count("total 3") == 4


def test_breakpoint_and_input(plaunch: Launcher) -> None:
    """A single rank reads our standard input: from a pipe, and typed on a terminal."""
    plaunch.write(
        "main.py",
        """
        name = input("name? ")
        secret = 42
        breakpoint()
        print("went on,", name)
        """,
    )
    for start in ("warm", "cold"):
        done = plaunch("--start", start, "main.py", stdin=b"Ada\np secret\nc\n").ok()
        assert "name? " in done.out
        assert "(Pdb) 42" in done.out
        assert "went on, Ada" in done.out
    run = plaunch.start("--start", "cold", "main.py", terminal=True)
    run.until(lambda: "name? " in run.out, "a prompt without a newline is shown")
    run.type(b"Bob\n")
    run.until(lambda: "(Pdb)" in run.out, "the debugger's prompt is shown")
    run.type(b"p secret\nc\n")
    done = run.wait().ok()
    assert "42" in done.out
    assert "went on, Bob" in done.out


def test_several_ranks_read_nothing(plaunch: Launcher) -> None:
    """With more than one rank, standard input is empty for all."""
    plaunch.write("main.py", "import sys\nprint('read', repr(sys.stdin.read()))\n")
    done = plaunch("--start", "cold", "--procs", "2", "main.py", stdin=b"words\n").ok()
    assert done.out.count("read ''") == 2


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_forms_of_programs(plaunch: Launcher, start: str) -> None:
    """A module of a package, a folder with __main__.py, a link to a script elsewhere."""
    show = "import sys, beside\nprint(__name__, sys.argv[1:], beside.NAME, bool(__file__))\n"
    plaunch.write("pack/inner.py", show)
    plaunch.write("beside.py", "NAME = 'here'\n")
    plaunch.write("app/__main__.py", show)
    plaunch.write("app/beside.py", "NAME = 'in the folder'\n")
    plaunch.write("elsewhere/main.py", show)
    plaunch.write("elsewhere/beside.py", "NAME = 'elsewhere'\n")
    (plaunch.folder / "link.py").symlink_to("elsewhere/main.py")
    expected = {"-m pack.inner": "here", "app": "in the folder", "link.py": "elsewhere"}
    for words, name in expected.items():
        done = plaunch("--start", start, *words.split(), "a b").ok()
        assert done.out == f"__main__ ['a b'] {name} True\n"


def test_a_program_that_is_no_python(plaunch: Launcher) -> None:
    """Every rank has its variables; the first code that is not 0 is passed on."""
    script = 'echo "$RANK of $WORLD_SIZE"; test "$RANK" = 0 || exit 7; sleep 600'
    done = plaunch("--procs", "2", "--no-python", "bash", "-c", script)
    assert done.code == 7
    assert "1 of 2" in done.out
    assert (done.verdict["kind"], done.verdict["rank"]) == ("exit", 1)


def test_what_starts_cold_by_itself(plaunch: Launcher) -> None:
    """Import-time variables, preloads that start threads or fail: one line, and it runs."""
    plaunch.write(
        "early.py",
        """
        import os
        os.environ["OMP_NUM_THREADS"] = "1"
        import torch
        print("threads", torch.get_num_threads())
        """,
    )
    done = plaunch("early.py").ok()
    assert "threads 1" in done.out
    assert "early.py sets OMP_NUM_THREADS before it imports torch: starting cold" in done.err
    plaunch.write(
        "threaded.py",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    )
    plaunch.write("broken.py", "raise RuntimeError('not today')\n")
    plaunch.write("dies.py", "import os\nos._exit(3)\n")
    plaunch.write("main.py", "print('fine')\n")
    for name, reason in {
        "threaded": "2 threads are running after importing",
        "broken": "importing broken failed: RuntimeError: not today",
        "dies": "importing for the fork server failed",
        "no_such": "importing no_such failed: ModuleNotFoundError",
    }.items():
        path = {"PYTHONPATH": str(plaunch.folder)}
        done = plaunch("--preload", name, "main.py", env=path).ok()
        assert done.out == "fine\n"
        assert reason in done.err
        assert "starting cold" in done.err


def test_a_preloaded_module_is_there(plaunch: Launcher) -> None:
    """It is imported once a node and shared by the ranks."""
    plaunch.write("costly.py", "import os\nopen(f'import-{os.getpid()}', 'w').close()\n")
    plaunch.write("main.py", "import sys\nprint('there', 'costly' in sys.modules)\nimport costly\n")
    path = {"PYTHONPATH": str(plaunch.folder)}
    done = plaunch("--preload", "costly", "--procs", "3", "main.py", env=path).ok()
    assert done.out.count("there True") == 3
    assert len(list(plaunch.folder.glob("import-*"))) == 1


def test_a_port_that_is_taken_disturbs_nobody(plaunch: Launcher) -> None:
    """With torchrun's usual port in use, and named in the environment, ranks meet all the same."""
    import socket

    plaunch.write(
        "main.py",
        """
        import os, torch, torch.distributed as dist
        dist.init_process_group("gloo")
        total = torch.ones(1)
        dist.all_reduce(total)
        print("met", total.item(), os.environ["MASTER_PORT"] != "29500")
        dist.destroy_process_group()
        """,
    )
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it: taken all the same
            taken.bind(("127.0.0.1", 29500))
            taken.listen()
        done = plaunch("--procs", "2", "--env", "MASTER_PORT=29500", "main.py").ok()

    assert done.out.count("met 2.0 True") == 2


ENDS = """
import ctypes, threading, time, torch, torch.distributed as dist

def work():  # a thread by the name of gloo's that still needs the interpreter's lock
    ctypes.CDLL(None).prctl(15, b"pt_gloo_runloop", 0, 0, 0)
    begun.set()
    end = time.monotonic() + 0.3
    while time.monotonic() < end: pass
    done.set()
    time.sleep(600)

dist.init_process_group("gloo")
begun, done = threading.Event(), threading.Event()
threading.Thread(target=work, daemon=True).start()
begun.wait()
dist.destroy_process_group()
print("waited" if done.is_set() else "did not wait")
"""


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_the_end_of_a_group_waits_for_gloos_threads(plaunch: Launcher, start: str) -> None:
    """One that frees tensors then and the main thread, which joins it, would wait for each other:
    with torch alone programs hang so now and then."""
    plaunch.write("main.py", ENDS)
    done = plaunch("--start", start, "--procs", "2", "main.py").ok()
    assert done.out.count("waited") == 2
