#!/bin/sh
# On a Ray cluster: from a shell on one of its machines, and as a job of Ray's own.
#
#     sh examples/clusters/ray_job.sh
#
# A node gives what is asked for: with --gpus 8 eight GPUs of each of two nodes.
set -eu

plaunch --cluster ray --nodes 2 --gpus 0 --procs 2 examples/digits.py --epochs 3

# Ray's job starts in the folder that is named here, and knows the cluster that it is part of.
ray job submit --entrypoint-num-cpus 0 -- \
    sh -c "cd '$PWD' && plaunch --nodes 2 --gpus 0 --procs 1 examples/digits.py --epochs 3"
