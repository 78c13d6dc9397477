"""Our variables for a new job: without those of the job or run that we are part of. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.controller.rendezvous import OUR_NAMES, TORCHRUN_NAMES

# A user's own settings for SLURM's commands: they hold for a new job, too.
_OF_USERS = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_TIME_FORMAT", "SLURM_EXIT_ERROR"}
_OF_JOBS = (
    "SLURM_", "SLURMD_", "SRUN_", "PMI_", "PMIX_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND",
)  # fmt: skip
# What SLURM sets for a job under the names of others: the GPUs that it was given, and its kind.
_OF_JOBS_BY_NAME = {
    "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK",
    "ENVIRONMENT",
}  # fmt: skip
# What a rank of plaunch's has: its place in its run, and its node's network.
_OF_RANKS = {*TORCHRUN_NAMES, *OUR_NAMES, "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}


def without_job(environ: Mapping[str, str]) -> dict[str, str]:
    """A process's variables without those of the SLURM job and the run that it is part of.

    Settings for sbatch (``SBATCH_ACCOUNT``) stay. Outside of a job and a run, all stay.
    """
    job_id = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID")
    found = {k: v for k, v in environ.items() if not k.startswith("PLAUNCH_MARK_")}
    if "PLAUNCH_SOCKET" in environ:
        found = {name: value for name, value in found.items() if name not in _OF_RANKS}
    if not job_id:
        return found
    return {
        name: value
        for name, value in found.items()
        if name in _OF_USERS
        or not (
            name.startswith(_OF_JOBS)
            or name in _OF_JOBS_BY_NAME
            or (name == "TMPDIR" and job_id in value)  # made for that job, where it runs
        )
    }
