"""Writes down all that a program can see of its process. Run by the tests, never imported."""

import atexit
import json
import os
import random
import resource
import signal
import stat
import sys
import threading
import time

seen = {
    "modules of ours": sorted(
        name
        for name in sys.modules
        if name.partition(".")[0] in ("launcher", "engine", "plaunch", "plaunch_boot")
    ),
    "user's own modules": [name for name in ("beside", "launcher_of_mine") if name in sys.modules],
}
seen["main"] = {
    name: repr(value)
    for name, value in sorted(vars(sys.modules["__main__"]).items())
    if name.startswith("__") and name not in ("__builtins__", "__loader__", "__annotations__")
}
seen["main's loader"] = type(__loader__).__name__
seen["main is ours"] = vars(sys.modules["__main__"]) is globals()
seen["builtins"] = type(__builtins__).__name__
seen["argv"], seen["orig_argv"] = sys.argv, sys.orig_argv[1:]
seen["path"], seen["flags"] = sys.path, str(sys.flags)
seen["threads at start"] = threading.active_count()
seen["tasks at start"] = len(os.listdir("/proc/self/task"))
seen["meta_path"] = [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]
seen["env"] = dict(os.environ)
seen["cwd"], seen["umask"] = os.getcwd(), os.umask(0o22)
os.umask(seen["umask"])
seen["signals"] = {
    signal.Signals(number).name: str(signal.getsignal(number))
    for number in range(1, signal.SIGSYS + 1)
}
with open("/proc/self/status") as file:
    seen["kernel's view of signals"] = [
        row for row in file if row.startswith(("SigI", "SigC", "SigB"))
    ]
seen["mask"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
seen["wakeup"] = signal.set_wakeup_fd(-1)
seen["descriptors"] = sorted(
    int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")
)
seen["kinds"] = [stat.S_IFMT(os.fstat(fd).st_mode) for fd in (0, 1, 2)]
seen["leads its session"] = os.getsid(0) == os.getpid()
seen["stdin"] = sys.stdin.read()
seen["streams"] = [
    [stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.name]
    for stream in (sys.stdin, sys.stdout, sys.stderr)
]
seen["limits"] = [sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE)]
seen["displayhook"] = sys.displayhook is sys.__displayhook__
seen["unraisablehook"] = sys.unraisablehook is sys.__unraisablehook__
seen["gc"] = __import__("gc").isenabled()
seen["main thread"] = threading.current_thread() is threading.main_thread()
seen["nice"] = os.nice(0)
seen["affinity"] = sorted(os.sched_getaffinity(0))

import multiprocessing  # noqa: E402

import numpy  # noqa: E402
import torch  # noqa: E402
from beside import NAME, Numbers  # noqa: E402

seen["beside"] = NAME
seen["process"] = [
    multiprocessing.current_process().name,
    len(multiprocessing.current_process().authkey),
    multiprocessing.parent_process() is None,
    multiprocessing.get_start_method(allow_none=True),
]
own = {
    "random": random.random(),
    "numpy": float(numpy.random.rand()),
    "torch": float(torch.rand(1)),
    "authkey": multiprocessing.current_process().authkey.hex(),
}
seen["torch's threads"] = [torch.get_num_threads(), torch.get_num_interop_threads()]
seen["torch"] = [torch.__version__, torch.cuda.is_initialized(), torch.is_grad_enabled()]
torch.ones(2000, 2000) @ torch.ones(2000, 2000)
seen["tasks after work"] = len(os.listdir("/proc/self/task"))

if __name__ == "__main__":
    for method in ("fork", "spawn") if os.environ.get("RANK", "0") == "0" else ():
        loader = torch.utils.data.DataLoader(
            Numbers(), batch_size=4, num_workers=1, multiprocessing_context=method
        )
        seen[f"loader by {method}"] = [batch.tolist() for batch in loader]
    out = os.environ["OUT"] + os.environ.get("RANK", "")
    print("a line without flush")
    atexit.register(lambda: open(out + ".atexit", "w").close())
    thread = threading.Thread(target=lambda: open(out + ".thread", "w").close())
    thread.start()
    with open(out + ".part", "w") as file:
        json.dump({"seen": seen, "own": own}, file)
    os.rename(out + ".part", out)
    peers = [os.environ["OUT"] + str(rank) for rank in range(int(os.environ.get("WORLD_SIZE", 0)))]
    while not all(os.path.exists(peer) for peer in peers):
        time.sleep(0.01)
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("of two lines\nin the message") from error
