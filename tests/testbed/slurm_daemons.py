"""How the daemons of a testbed's Slurm are started: a shell script for each host."""

from collections.abc import Collection
from pathlib import Path

from tests.testbed.slurm_conf import GPUS

PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
NEEDED = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
}
NEEDED_FOR_ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}

_SOCKET = "/run/mysqld/mysqld.sock"
_START_MUNGE = """\
rm -rf /etc/slurm && ln -s /shared/slurm/etc /etc/slurm
install -m 0400 -o munge -g munge /shared/slurm/munge.key /etc/munge/munge.key
install -d -m 0755 -o munge -g munge /run/munge /var/lib/munge /var/log/munge
runuser -u munge -- munged
"""
_START_CONTROLLER = "slurmctld\n"
_START_NODE = f"""\
for k in $(seq 0 {GPUS - 1}); do test -e /dev/nvidia$k || mknod -m 666 /dev/nvidia$k c 195 $k; done
mkdir -p /var/spool/slurmd
slurmd
"""
_START_DATABASE = f"""\
data=/shared/slurm/mysql
install -d -m 0755 -o mysql -g mysql {Path(_SOCKET).parent}
if ! test -e $data; then
    mariadb-install-db --no-defaults --user=mysql --datadir=$data \\
        --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve
fi
setsid mariadbd --no-defaults --user=mysql --datadir=$data --socket={_SOCKET} --skip-networking \\
    --innodb-buffer-pool-size=32M --pid-file=/run/mysqld/mysqld.pid &
until mariadb --no-defaults --socket={_SOCKET} --user=root --execute="
    CREATE DATABASE IF NOT EXISTS slurm_acct_db;
    CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';
    GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
do sleep 0.05; done
slurmdbd
until sacctmgr --noheader --parsable2 show cluster >/dev/null; do sleep 0.05; done
"""


def start_script(host: str, running: Collection[str], *, accounting: bool) -> str:
    """What starts the daemons that the host lacks; empty if all of them run."""
    parts = [] if "munged" in running else [_START_MUNGE]
    if host == "host1" and accounting and "slurmdbd" not in running:
        parts.append(_START_DATABASE)
    if host == "host1" and "slurmctld" not in running:
        parts.append(_START_CONTROLLER)
    if host != "host0" and "slurmd" not in running:
        parts.append(_START_NODE)
    return "".join(parts)
