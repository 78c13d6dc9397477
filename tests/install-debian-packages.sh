#!/bin/sh
# The Debian packages that the real-host tests need. Quick when all is there. A machine that can't
# have them is no error here: those tests are then skipped by name, each with its reason.
set -eu

packages="openssh-server openssh-client iproute2 iputils-ping tcsh"
packages="$packages slurmctld slurmd slurm-client munge"
packages="$packages mariadb-server slurmdbd" # for sacct
missing=""
for package in $packages; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed (needs root and apt-get):$missing" >&2
    exit 0
fi

# The tests start daemons of their own; apt must not start any on this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=120"
install="$apt install -y --no-install-recommends"
# shellcheck disable=SC2086  # all are lists of words
if ! { $apt update && $install $missing; } >&2; then
    for package in $missing; do # one that this machine can't have is no reason to lack the others
        $install "$package" >&2 || echo "not installed (apt-get failed): $package" >&2
    done
fi
