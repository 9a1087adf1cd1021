#!/usr/bin/env bash
# How far install.sh gets on arm64, on a PC: Debian 13 for the Raspberry Pi's processor in a chroot, emulated by QEMU.
#
# What it is to show: apt and pip give every package for that processor, all of them can be imported, and llama.cpp is
# configured and begins to compile.  So far it was seen only as far as the venv being made.  What it cannot show: the whole compilation would take hours, emulation says nothing of
# speed, and nothing runs under systemd.  It takes a quarter of an hour and a network, and is no part of the tests.

set -Eeuo pipefail

if ((EUID != 0)); then
    echo "arm64.sh: only root can do this; run it with sudo." >&2
    exit 1
fi
here=$(cd "$(dirname "$0")" && pwd -P)
checkout=$(cd "$here/../.." && pwd -P)
: "${HOME:=/root}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/assistant/appliance
tree=$cache/trixie-arm64
packages=(python3 python3-venv build-essential ca-certificates libportaudio2 libgomp1 systemd procps)
binfmt=/proc/sys/fs/binfmt_misc
mkdir -p "$cache"

tools=()
[[ -x /usr/bin/qemu-aarch64-static ]] || tools+=(qemu-user-static)
command -v mmdebstrap >/dev/null || tools+=(mmdebstrap)
command -v arch-test >/dev/null || tools+=(arch-test)
if ((${#tools[@]})); then
    apt-get -q update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${tools[@]}" >/dev/null
fi

# The kernel hands arm64 programs to QEMU for as long as this runs, unless it did before.
[[ -e $binfmt/register ]] || mount -t binfmt_misc binfmt_misc "$binfmt"
if [[ ! -e $binfmt/qemu-aarch64 ]]; then
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    echo ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:OCF" >"$binfmt/register"
    trap 'echo -1 >"$binfmt/qemu-aarch64"' EXIT
fi

if [[ ! -e $tree ]]; then
    echo "arm64.sh: making a Debian 13 for arm64; this takes some minutes, once"
    # shellcheck disable=SC2016 # apt-get expands these
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" {print $3; exit}')
    scratch=$(mktemp -d "$cache/making.XXXXXX")
    mmdebstrap --quiet --mode=root --variant=minbase --architectures=arm64 \
        --include="$(IFS=, && echo "${packages[*]}")" trixie "$scratch/tree" "deb $mirror trixie main"
    mv "$scratch/tree" "$tree"
    rmdir "$scratch"
fi

work=$(mktemp -d "$cache/arm64.XXXXXX")
mkdir "$work"/{upper,work,root}
git -C "$checkout" ls-files --cached --others --exclude-standard -z |
    (cd "$checkout" && tar -c --null --ignore-failed-read -T - 2>/dev/null) |
    (mkdir -p "$work/upper/root/assistant" && tar -x -C "$work/upper/root/assistant")
mkdir -p "$work/upper/etc/ssl/certs"
for file in /etc/{hosts,resolv.conf,pip.conf,ssl/certs/ca-certificates.crt}; do # the network as this machine has it
    if [[ -e $file ]]; then cp "$file" "$work/upper$file"; fi
done

# What the chroot does: first install.sh until it compiles, then the libraries in an environment of their own.
cat >"$work/upper/root/try" <<'END_OF_TRY'
#!/bin/bash
set -Eeuo pipefail
cd /root/assistant
echo "== $(uname -m), $(python3 --version)"
setsid ./install.sh &
until grep -qE '^ *\[[ 0-9]+/[0-9]+\]' /var/cache/assistant/install-appliance.log 2>/dev/null; do
    kill -0 $! 2>/dev/null || { echo "== install.sh ended before it compiled"; exit 1; }
    sleep 5
done
sleep 60
echo "== compiling: $(grep -E '^ *\[[ 0-9]+/[0-9]+\]' /var/cache/assistant/install-appliance.log | tail -n 1 | cut -c1-120)"
kill -- -$!
wait $! || true
venv=$(echo /opt/assistant/venv-*)
mapfile -t libraries < <("$venv/bin/python" -c '
import tomllib
print(*[need for need in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if "llama" not in need], sep="\n")')
"$venv/bin/python" -m pip install -q --only-binary=:all: "${libraries[@]}"
"$venv/bin/python" -c 'import ctranslate2, faster_whisper, jinja2, onnxruntime, piper, sounddevice, soundfile, soxr, webrtcvad'
echo "== every library is there and can be imported"
"$venv/bin/python" -m assistant --version
"$venv/bin/python" -m assistant say -o /root/said.wav "I am listening."
"$venv/bin/python" -m assistant transcribe tests/audio/q00.wav
echo "== it speaks and recognises"
END_OF_TRY
chmod 755 "$work/upper/root/try"

status=0
# shellcheck disable=SC2016 # the inner shell expands these
unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
    mount -t proc proc "$2/root/proc"
    mount --rbind /dev "$2/root/dev"
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        chroot "$2/root" /root/try
' bash "$tree" "$work" || status=$?
rm -rf --one-file-system "$work"
exit "$status"
