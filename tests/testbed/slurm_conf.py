"""What stands in the configuration files of a testbed's Slurm."""

from collections.abc import Mapping

GPUS, CPUS, MEMORY_MB = 8, 16, 4000  # of each node; none of it is real

# With timers so short that tests don't wait: a dead node is noticed after ~20 s instead of
# minutes, KILL follows TERM after 5 s, and a requeued job may start again after 6 s.
_LINES = {
    "ClusterName": "testbed",
    "SlurmctldHost": "host1",
    "AuthType": "auth/munge",
    "AuthInfo": "cred_expire=5",  # a requeued job waits a second longer than that
    "CredType": "cred/munge",
    "SlurmUser": "slurm",
    "SlurmctldPort": "6817",
    "SlurmdPort": "6818",
    "StateSaveLocation": "/shared/slurm/state",
    "SlurmdSpoolDir": "/var/spool/slurmd",
    "SlurmctldPidFile": "/run/slurmctld.pid",
    "SlurmdPidFile": "/run/slurmd.pid",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SwitchType": "switch/none",
    "MpiDefault": "none",
    "ReturnToService": "2",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": "sched_min_interval=200000,bf_interval=1,batch_sched_delay=0",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU_Memory",
    "GresTypes": "gpu",
    "PriorityType": "priority/basic",
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "SlurmctldParameters": "preempt_send_user_signal",
    "SlurmctldTimeout": "10",
    "SlurmdTimeout": "10",
    "InactiveLimit": "0",
    "MinJobAge": "3600",
    "KillWait": "5",
    "Waittime": "0",
    "BatchStartTimeout": "10",
    "MessageTimeout": "10",
    "CompleteWait": "0",
    "JobRequeue": "1",
    "RequeueExit": "99",
    "DefMemPerCPU": "50",  # else a job takes all memory of its nodes
    "JobCompType": "jobcomp/filetxt",
    "JobCompLoc": "/shared/slurm/log/jobcomp.log",
    "JobAcctGatherType": "jobacct_gather/none",
    "SlurmctldDebug": "verbose",
    "SlurmctldLogFile": "/shared/slurm/log/slurmctld.log",
    "SlurmdDebug": "verbose",
    "SlurmdLogFile": "/shared/slurm/log/%n-slurmd.log",
    "SlurmdParameters": "config_overrides",  # believe the node lines below
}
_WITH_ACCOUNTING = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageHost": "host1",
    "AccountingStorageTRES": "gres/gpu",
}
_SLURMDBD = """\
AuthType=auth/munge
DbdHost=host1
SlurmUser=slurm
PidFile=/run/slurmdbd.pid
LogFile=/shared/slurm/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=slurm_acct_db
StorageUser=slurm
StoragePass=slurm
"""


def files(
    num_nodes: int, config: Mapping[str, str | None], grace_s: int, *, accounting: bool
) -> dict[str, str]:
    """The files of /etc/slurm: name -> text. A None in ``config`` takes that line out."""
    lines: dict[str, str | None] = {**_LINES, **(_WITH_ACCOUNTING if accounting else {}), **config}
    text = "".join(f"{key}={value}\n" for key, value in lines.items() if value is not None)
    text += f"""\
NodeName=host[1-{num_nodes}] CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=low Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s}
PartitionName=high PriorityTier=10 PreemptMode=OFF
"""
    return {
        "slurm.conf": text,
        "gres.conf": f"Name=gpu File=/dev/nvidia[0-{GPUS - 1}]\n",
        "cgroup.conf": "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n",
        **({"slurmdbd.conf": _SLURMDBD} if accounting else {}),
    }
