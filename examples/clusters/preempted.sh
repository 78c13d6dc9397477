#!/bin/sh
# Told to make room, a run saves between two steps and ends with 75: "run me again". The same command
# with the same --run-dir goes on from that very step. Works on one machine as on any cluster.
#
#     sh examples/clusters/preempted.sh
set -u
run_dir=${1:-plaunch_runs/preempted}

train() {
    exec plaunch --nodes 2 --run-dir "$run_dir" examples/digits.py --epochs 20
}

(train) &
plaunch=$!
until grep -qs "epoch  *[1-9]" "$run_dir/logs/rank0.log"; do # it is training
    kill -0 $plaunch || exit 1
    sleep 0.2
done
kill -USR2 $plaunch # what a scheduler sends: --signal=B:USR2@120 in a batch script
wait $plaunch
code=$?
echo "made room: exit code $code"
test $code = 75 || exit 1

train # begins where it was saved, to the step
