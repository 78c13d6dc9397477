"""``queue_jobs.py COUNT`` puts jobs into SLURM's queue and notes them as plaunch does.

They are held, so they stay in the queue.
"""

import subprocess
import sys
import time

from launcher.rundir import index

for number in range(int(sys.argv[1])):
    words = ["sbatch", "--parsable", "--hold", "--wrap", "true"]
    job = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    job_id = job.strip()
    entry = index.Entry(
        run_dir=f"/shared/runs/train-{job_id}",
        cluster="slurm",
        host="host0",
        started=time.time() - number,
        slurm=job_id,
        program="train.py",
        whole_job=True,
    )
    index.record(entry)
