"""A program for the login host: connect to nodes by SSH and tell in JSON what came of it.

Its argument: ``{"nodes": [{"address": "host1", ...}], "options": {...}, "argv": [...]}``. All nodes
are connected to at once; each answer holds either the error's parts or the program's output.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from launcher.clusters.ssh.cluster import SshCluster, SshOptions, explain_exit
from launcher.core.errors import NodeError
from launcher.core.job import Node


def main() -> None:
    asked = json.loads(sys.argv[1])
    nodes = tuple(Node(**{"name": one["address"], **one}) for one in asked["nodes"])
    cluster = SshCluster(nodes, SshOptions(**asked["options"]))

    def run(node: Node) -> dict[str, Any]:
        started = time.monotonic()
        try:
            answer = run_one(cluster, node, asked["argv"])
        except NodeError as error:
            answer = {"node": error.node, "problem": error.problem, "advice": error.advice}
        return {**answer, "seconds": time.monotonic() - started}

    with ThreadPoolExecutor(len(nodes)) as pool:
        print(json.dumps(list(pool.map(run, nodes))))
    cluster.close()


def run_one(cluster: SshCluster, node: Node, argv: list[str]) -> dict[str, Any]:
    stream = cluster.connect(node, argv, {})
    out = b""
    while data := stream.read(65536):
        out += data
    code = stream.wait(20)
    said = stream.errors()
    stream.close()
    explained = explain_exit(node, code, said)
    if explained is not None:
        raise explained
    return {"code": code, "out": out.decode(), "errors": said}


if __name__ == "__main__":
    main()
