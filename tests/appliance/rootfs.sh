#!/usr/bin/env bash
# Makes the Debian system that the appliance is tested in, once, and prints where it is: rootfs.sh [bookworm|trixie]
#
# It holds systemd, what install.sh asks apt for, and PulseAudio in place of sound devices; nothing of the assistant.
# It is kept in the user's cache under a key of this file: whoever uses it lays an overlay over it and writes there.

set -Eeuo pipefail

suite=${1-bookworm}
case $suite in
    bookworm | trixie) ;;
    *) echo "rootfs.sh: there is no '$suite'; say bookworm or trixie." >&2 && exit 2 ;;
esac
if ((EUID != 0)); then
    echo "rootfs.sh: this machine can only be made by root; run it with sudo." >&2
    exit 1
fi

packages=(
    systemd systemd-sysv dbus udev procps iproute2 util-linux
    python3 python3-venv build-essential ca-certificates libportaudio2 libgomp1
    pulseaudio pulseaudio-utils libasound2-plugins
)
: "${HOME:=/root}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/assistant/appliance
tree=$cache/$suite-$(sha256sum <"$0" | cut -c1-12)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

tools=()
command -v systemd-nspawn >/dev/null || tools+=(systemd-container)
command -v mmdebstrap >/dev/null || tools+=(mmdebstrap)
if ((${#tools[@]})); then
    echo "rootfs.sh: installing ${tools[*]}" >&2
    {
        apt-get -q -o DPkg::Lock::Timeout=300 update &&
            DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
                install --no-install-recommends "${tools[@]}"
    } >"$cache/apt.log" 2>&1 || {
        echo "rootfs.sh: apt could not install ${tools[*]}; see $cache/apt.log." >&2
        exit 1
    }
fi

if [[ ! -e $tree ]]; then
    echo "rootfs.sh: making a Debian $suite to test in; this takes some minutes, once" >&2
    # The mirror that this machine itself takes Debian from.
    # shellcheck disable=SC2016 # apt-get expands these
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" {print $3; exit}')
    if [[ -z $mirror ]]; then
        echo "rootfs.sh: apt knows no Debian mirror on this machine; add one to its sources and run apt-get update." >&2
        exit 1
    fi
    scratch=$(mktemp -d "$cache/making.XXXXXX")
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    include=$(IFS=, && echo "${packages[*]}")
    mmdebstrap --quiet --mode=root --variant=minbase --include="$include" \
        "$suite" "$scratch/tree" "deb $mirror $suite main" >"$cache/$suite.log" 2>&1 || {
        echo "rootfs.sh: Debian $suite could not be made; see $cache/$suite.log." >&2
        exit 1
    }
    # The archives are of no use any more; a machine id would be the same in every machine.
    rm -rf "$scratch"/tree/var/cache/apt/*.bin "$scratch"/tree/var/cache/apt/archives/*.deb
    : >"$scratch/tree/etc/machine-id"
    echo appliance >"$scratch/tree/etc/hostname"
    rm -rf --one-file-system "$cache/$suite"-*
    mv "$scratch/tree" "$tree"
fi
echo "$tree"
