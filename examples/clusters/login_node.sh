#!/bin/sh
# From a login node of SLURM: the first command waits in the queue, shows the job's output as if it
# ran here, and ends with its exit code; the others leave a job alone and come back to it.
#
#     sh examples/clusters/login_node.sh
set -eu

plaunch --cluster slurm --nodes 2 --procs 2 --time 30 examples/digits.py --epochs 3

job=$(plaunch --cluster slurm --nodes 2 --procs 1 --time 30 --detach examples/digits.py --epochs 3)
echo "submitted $job"
plaunch status "$job"
plaunch logs --follow "$job" # until it is over
plaunch status "$job"
