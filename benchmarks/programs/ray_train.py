"""Ray Train to its first all-reduce: ``ray_train.py WORKERS WORKERS_PER_NODE``.

The driver of a cluster that runs already.
"""

import os
import sys
from typing import Any

import ray
import torch
import torch.distributed as dist
from mark import mark
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer


def train(config: dict[str, Any]) -> None:
    """What each worker does; its process group is there already."""
    os.environ["RANK"] = str(dist.get_rank())
    os.environ["BENCHMARK_MARKS"] = config["marks"]
    total = torch.ones(1)
    dist.all_reduce(total)
    mark("reduced")
    assert total.item() == dist.get_world_size() == config["workers"]


def main() -> None:
    """Start the workers, evenly on all nodes, on processors."""
    workers, per_node = int(sys.argv[1]), int(sys.argv[2])
    marks = os.environ["BENCHMARK_MARKS"]  # all nodes share this folder
    ray.init(address="auto")
    cpus = ray.cluster_resources()["CPU"] / len(ray.nodes())
    trainer = TorchTrainer(
        train,
        train_loop_config={"marks": marks, "workers": workers},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=False, resources_per_worker={"CPU": cpus / per_node}
        ),
        run_config=RunConfig(name="first", storage_path=marks),
    )
    trainer.fit()


main()
