"""Options and words of other launchers that plaunch does not have: what to use instead. Pure.

torchrun, sbatch and srun, mpirun, accelerate, deepspeed, and what people try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

NEAR = 0.75  # how alike a typo has to be to what is suggested

_NODES = "plaunch starts every node itself, from one place: --nodes N, --hosts h1,h2 or --cluster"
_MEETING = "the ranks find each other by themselves: leave it out"
_SBATCH = "an option of SLURM's is passed on: --sbatch="
_LOGS = "what each rank prints is in logs/ of the run's folder, which --run-dir names"
_ENGINE = "that is the training script's business: give it behind the script, or set it there"
_BINDING = "plaunch binds no ranks to cores; OMP_NUM_THREADS is set, and --env changes it"
_HOSTS = "name the hosts by --hosts h1,h[2-4], or in a cluster file (--cluster FILE.yaml)"

# What to do, and for which options.
_ADVICE: tuple[tuple[str, str], ...] = (
    (_NODES, "node-rank machine-rank rank local-rank same-network"),
    (
        _MEETING,
        "rdzv-backend rdzv-endpoint rdzv-id rdzv-conf master-addr master-port local-addr dist-url "
        "main-process-ip main-process-port rdzv-backend-name rdzv-timeout world-size jobid",
    ),
    (
        "use --procs N, the ranks on each node",
        "n np ntasks num-processes nprocs nproc ranks num-procs processes ntasks-per-node ppn "
        "npernode tasks-per-node procs-per-node num-processes-per-node slots-per-host c-np",
    ),
    ("use --nodes N", "N num-nodes num-machines node machines nnode nodes-per-job"),
    (
        "use --gpus N, the GPUs of each node",
        "G gpus-per-node num-gpus gpu ngpus devices gpu-ids gpus-per-task visible-devices",
    ),
    ("use --gpus N and --procs N", "multi-gpu cpu tpu accelerator use-cpu"),
    (_HOSTS, "host H hostfile machinefile machines-file nodelist w hostlist include f host-file"),
    ("leave such hosts out of --hosts; on SLURM: --sbatch=--exclude=...", "exclude"),
    (
        "use --env NAME, or --env NAME=VALUE",
        "x env-vars environment genv export runtime-env envs",
    ),
    ("use --partition NAME", "p queue"),
    ("use --account NAME", "A"),
    ("use --time TIME", "t walltime time-limit"),
    ("use --array SPEC", "a"),
    ("use --qos NAME on SLURM; to say less: --quiet", "q"),
    ("use --detach", "d background b daemon no-wait submit"),
    ("use --grace SECONDS", "shutdown-timeout kill-timeout termination-grace"),
    ("the job is called as its program is", "name"),
    (
        _SBATCH,  # completed by the option itself
        "job-name J mem mem-per-cpu mem-per-gpu cpus-per-task c gres constraint C exclusive begin "
        "dependency "
        "mail-type mail-user reservation licenses L comment nice cpus-per-gpu gpu-bind switches "
        "contiguous tmp wckey clusters M signal hint hold priority oversubscribe s",
    ),
    (
        "it is set by the cluster file's `workdir:`, or by where plaunch is started",
        "chdir D workdir wdir cwd working-dir working-directory",
    ),
    (
        _LOGS,
        "log-dir log output o error e redirects r tee output-filename local-ranks-filter logdir "
        "role log-line-prefix-template logs-specs tag-output label l duplicate-stdout-filters "
        "duplicate-stderr-filters event-log-handler logs",
    ),
    ("ranks are forked from a server that has imported torch: --start warm|cold", "start-method"),
    ("a failed rank is noticed at once: leave it out", "monitor-interval kill-on-bad-exit K"),
    ("the variables are set anyway: leave it out", "use-env run-path virtual-local-rank"),
    (
        _BINDING,
        "bind-to map-by cpu-bind numa-binding distribution rank-by report-bindings "
        "num-cpu-threads-per-process threads-per-process enable-cpu-affinity mem-bind",
    ),
    (
        _ENGINE,
        "mixed-precision precision strategy use-deepspeed use-fsdp deepspeed-config "
        "dynamo-backend fp16 bf16 zero-stage deepspeed gradient-accumulation-steps "
        "use-megatron-lm gradient-clipping deepspeed-config-file fsdp-config",
    ),
    ("use a cluster file: --cluster FILE.yaml", "config-file config inventory"),
    ("use --cluster ssh|slurm|ray", "launcher backend scheduler mpi"),
    ("a cluster file says it: `ray: {address: ...}`", "address"),
    ("SSH hosts are written user@host:port", "user u port ssh-port"),
    ("a cluster file says it: `ssh: {identity_file: ...}`", "identity i identity-file"),
    ("use --run-dir with the folder of the run that is to go on", "resume continue resume-from"),
    ("leave it out: plaunch is no MPI", "mca allow-run-as-root oversubscribe-mpi prefix pty"),
    ("use --verbose", "v debug loglevel log-level"),
    ("use --version", "V"),
    ("use --max-restarts N", "max-retries retries restarts"),
    ("use --timeout SECONDS", "max-time time-out"),
    ("the last thing before the script's own words is the script: plaunch train.py", "script"),
)
_BY_NAME: Mapping[str, str] = {
    name: advice for advice, names in _ADVICE for name in names.split() if name
}

# Words that people try in the place of ours.
_VERBS: Mapping[str, str] = {
    **dict.fromkeys(("run", "launch", "start", "exec", "submit", "train"), ""),
    **dict.fromkeys(("ls", "list", "ps", "jobs", "queue", "squeue", "show"), "status"),
    **dict.fromkeys(("log", "tail", "cat", "output"), "logs"),
    **dict.fromkeys(("kill", "stop", "scancel", "abort", "end"), "cancel"),
    **dict.fromkeys(("clean", "cleanup", "rm", "delete", "remove", "gc"), "prune"),
    **dict.fromkeys(("check", "diagnose", "test", "ping"), "doctor"),
    **dict.fromkeys(("hosts", "sinfo", "gpus", "info"), "nodes"),
    "help": "--help",
    "version": "--version",
}


def no_such_option(word: str, ours: Sequence[str]) -> str:
    """The line for an option that we don't have: what to use instead, if we know."""
    given = word.partition("=")[0]
    plain = given.lstrip("-").replace("_", "-")
    same = f"--{plain}"
    if same in ours and given != same:
        return f"no option {given}: it is written {same}"
    advice = _BY_NAME.get(plain) or (_BY_NAME.get(plain[:1]) if _has_value_glued(given) else None)
    if advice == _SBATCH:
        advice = f"{_SBATCH}{same if len(plain) > 1 else '-' + plain}=..., with --cluster slurm"
    if advice is not None:
        return f"no option {given}: {advice}"
    near = get_close_matches(given.replace("_", "-"), ours, n=1, cutoff=NEAR)
    return f"no option {given}" + (f"; did you mean {near[0]}?" if near else "")


def _has_value_glued(given: str) -> bool:
    """``-N4``."""
    return given[:1] == "-" and given[1:2].isalpha() and given[2:].isdigit()


def no_such_word(word: str, ours: Sequence[str]) -> str | None:
    """What a first word that is no file may have been meant as; None if we can't say."""
    meant = _VERBS.get(word)
    if meant is not None:
        usage = f"plaunch {meant}" if meant else "plaunch [options] script.py"
        return f"there is no program {word!r} here, and no such command: it is `{usage}`"
    near = [] if "/" in word else get_close_matches(word, ours, n=1, cutoff=NEAR - 0.1)
    return f"there is no program {word!r} here; did you mean `plaunch {near[0]}`?" if near else None
