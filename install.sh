#!/usr/bin/env bash
# Installs the assistant as an appliance (sudo ./install.sh), or sets it up in this checkout (try, test).
#
# In a checkout everything lands in .venv, except the language model's engine: it is compiled for this very processor
# and kept as a wheel in the user's cache, under a key that another processor, compiler or version does not share.
# What the appliance needs beyond that stands in systemd/appliance.sh.

set -Eeuo pipefail

usage() {
    cat <<'END'
Usage: sudo ./install.sh [--models DIR] [--kiosk]
       sudo ./install.sh uninstall [--purge]
       ./install.sh try [--text] [arguments of assistant]
       ./install.sh test

  (nothing)  installs the assistant in /opt/assistant, so that it starts with the machine, or updates it there;
             --models DIR takes the models from a folder, such as a USB stick's, where there is no network;
             --kiosk prepares a machine that nobody logs in to: hardware watchdog, few writes to the SD card
  uninstall  takes away what was installed, but for /etc/assistant and the models; --purge takes these away, too
  try        sets everything up in .venv, fetches the models if the network gives them, and starts the assistant:
             speaking and listening where there is a microphone, typing otherwise or with --text
  test       sets up the development environment and runs all checks and tests

try and test need root only for missing system packages, and then ask for it through sudo.
END
}

wrong() { # wrong SENTENCE: a mistake on the command line
    echo "install.sh: $1" >&2
    usage >&2
    exit 2
}

root=$(cd "$(dirname "$0")" && pwd -P)
mode=appliance again="sudo ./install.sh"
models_from="" kiosk="" purge=""
case ${1-} in
    -h | --help) usage && exit 0 ;;
    try | test) mode=$1 again="./install.sh $1" && shift ;;
    uninstall) mode=$1 again="sudo ./install.sh uninstall" && shift ;;
esac
if [[ $mode == appliance || $mode == uninstall ]]; then
    while (($#)); do
        case $mode:$1 in
            appliance:--models)
                [[ -d ${2-} ]] || wrong "--models needs a folder that is there, and '${2-}' is none."
                models_from=$(cd "$2" && pwd -P) && shift
                ;;
            appliance:--kiosk) kiosk=yes ;;
            uninstall:--purge) purge=yes ;;
            uninstall:*) wrong "uninstall knows no '$1'; there is only --purge." ;;
            *) wrong "there is no '$1'; say try, test or uninstall, or nothing to install the appliance." ;;
        esac
        shift
    done
    if ((EUID != 0)); then
        echo "install.sh: only root can do this; run $again (or ./install.sh try, which needs no root)." >&2
        exit 2
    fi
    umask 022
    HOME=$(getent passwd 0 | cut -d: -f6) # sudo may have kept that of the person
fi

: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONUTF8=1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/assistant
venv=$root/.venv
scratch=""
steps=6
locked=$root
# shellcheck source=systemd/appliance.sh
source "$root/systemd/appliance.sh"
if [[ $mode == appliance || $mode == uninstall ]]; then
    cache=/var/cache/assistant
    locked=$prefix
    steps=10
fi
log=$cache/install-$mode.log
step=0
real_models=""
title="start"
step_began_s=0
log_offset_bytes=0

# ---------------------------------------------------------------- what the person sees

begin() { # begin TITLE: the next step
    step=$((step + 1)) title=$1 step_began_s=$SECONDS
    log_offset_bytes=$(stat -c %s "$log")
    echo "[$step/$steps] $title …"
    echo "==== [$step/$steps] $title" >>"$log"
}

say() { printf '      %s\n' "$*"; }

done_in() { say "$* ($(clock $((SECONDS - step_began_s))))"; }

clock() { # clock SECONDS: "42 s" or "3 min 5 s"
    if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

fail() { # fail WHY NEXT: one sentence, and the end
    echo "install.sh: step $step of $steps ($title) failed because $1; $2 (the full output is in $log)." >&2
    exit 1
}

progress() { # shows, from a command's output, how far it is: one line that changes, or now and then one in a pipe
    local line="" rest="" shown="" status shown_at_s=$SECONDS began_s=$SECONDS
    while true; do
        status=0
        IFS= read -r -t 1 line || status=$?
        if ((status > 128)); then # nothing for a second, or half a line
            rest+=$line
        elif ((status != 0)); then
            break
        else
            line=$rest$line rest=""
            if [[ $line =~ ^\ *\[\ *([0-9]+)/([0-9]+)\] ]]; then # ninja
                shown="compiling, file ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}"
            elif [[ $line =~ ^\ *\[\ *([0-9]+%)\] ]]; then # make
                shown="compiling, ${BASH_REMATCH[1]}"
            elif [[ $line =~ ^[.a-zA-Z]+\ +\[\ *([0-9]+%)\]$ ]]; then # pytest
                shown="testing, ${BASH_REMATCH[1]}"
            elif [[ $line =~ ^\ *((Collecting|Downloading|Installing|Building|Preparing|Unpacking|Setting\ up)\ .*) ]]; then
                shown=${BASH_REMATCH[1]}
            fi
        fi
        [[ -n $shown ]] || continue
        if [[ -t 1 ]]; then
            printf '\r\033[K      %s (%s)' "${shown:0:60}" "$(clock $((SECONDS - began_s)))"
        elif ((SECONDS - shown_at_s >= 30)); then
            shown_at_s=$SECONDS
            say "${shown:0:60} ($(clock $((SECONDS - began_s))))"
        fi
    done
    if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

run() { # run COMMAND…: its output goes to the log, its progress to the person, its exit code is ours
    echo "+ $*" >>"$log"
    "$@" 2>&1 | tee -a "$log" | progress
}

reason() { # why the command that has just failed did so, from what it wrote to the log in this step
    local output line
    output=$(tail -c "+$((log_offset_bytes + 1))" "$log")
    case $output in
        *"No space left on device"*) echo "the disk is full" && return ;;
        *"Killed signal"* | *"internal compiler error: Killed"* | *"MemoryError"*) echo "the memory ran out" && return ;;
        *"Temporary failure in name resolution"* | *"Temporary failure resolving"* | *"Network is unreachable"* | \
            *"NewConnectionError"* | *"ConnectTimeoutError"* | *"ConnectionPool(host"*) echo "the network cannot be reached" && return ;;
        *"CERTIFICATE_VERIFY_FAILED"*) echo "a certificate is not valid (is this machine's clock right?)" && return ;;
    esac
    line=$(grep -m 1 -E ': (fatal )?error: |: not found$|^ *CMake Error' <<<"$output") ||
        line=$(grep -E '^ *(ERROR|Error|E|fatal): ' <<<"$output" | tail -n 1) ||
        line=$(grep -v '^ *$' <<<"$output" | tail -n 1) || true
    echo "it ended with \"$(sed -E 's/^ +//; s/[.;]+$//' <<<"${line:0:200}")\""
}

# ---------------------------------------------------------------- the steps

check_machine() {
    case $(uname -m) in
        aarch64 | arm64 | x86_64) ;;
        *) fail "this processor ($(uname -m)) is none of aarch64 and x86_64" "use a 64-bit machine" ;;
    esac
    [[ $(getconf LONG_BIT) == 64 ]] ||
        fail "this system is a 32-bit one" "install the 64-bit Raspberry Pi OS, which the models need"
}

usable_python() { # prints the first Python of 3.11 to 3.13 that can make a venv
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
            >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    return 1
}

missing_packages() { # missing_packages NAME…: those that dpkg does not have installed
    local name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
    done
}

apt_install() { # apt_install NAME…: 0 if they are installed now
    local -a as_root=()
    if ((EUID != 0)); then
        # Without a terminal nobody can type a password: -n then fails instead of waiting.
        if [[ -t 2 ]]; then as_root=(sudo); else as_root=(sudo -n); fi
    fi
    # A machine that has just started may be at its own updates: wait for these.
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600)
    run "${apt[@]}" update && run "${apt[@]}" install --no-install-recommends "$@"
}

system_packages() {
    begin "System packages"
    # libportaudio2: microphone and speaker; libgomp1: llama.cpp's threads. CMake and ninja come with pip if missing.
    local -a wanted=(libportaudio2 libgomp1 build-essential) missing wished=()
    usable_python >/dev/null || wanted+=(python3-venv)
    if [[ $mode == test ]]; then wished=(shellcheck pulseaudio libasound2-plugins); fi
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "This is no Debian: PortAudio, OpenMP (libgomp), a C++ compiler and Python 3.11 to 3.13 must be there."
        return
    fi
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if ((${#missing[@]})); then
        local command="apt-get install ${missing[*]}"
        if ((EUID != 0)) && ! command -v sudo >/dev/null; then
            fail "these system packages are missing and there is no sudo: ${missing[*]}" \
                "run \"$command\" as root, then $again again"
        fi
        say "installing ${missing[*]}"
        apt_install "${missing[@]}" || fail "$(reason)" "run \"sudo $command\" yourself, then $again again"
    fi
    mapfile -t missing < <(missing_packages "${wished[@]}")
    if ((${#missing[@]})); then
        say "installing for the tests: ${missing[*]}"
        if { ((EUID != 0)) && ! command -v sudo >/dev/null; } || ! apt_install "${missing[@]}"; then
            say "not installed, tests that need them are skipped: ${missing[*]}"
        fi
    fi
    done_in "all there"
}

python_environment() {
    begin "Python environment"
    local python
    python=$(usable_python) || fail "no Python 3.11, 3.12 or 3.13 with the venv module was found" \
        "install one (on Debian: apt-get install python3-venv), then $again again"
    # A venv holds absolute paths: one that was moved here, or whose Python has gone, is made anew.
    if [[ -e $venv ]] && ! { "$venv/bin/python" -c 'import pip' && grep -qF "$venv" "$venv/bin/activate"; } &>>"$log"; then
        say "$venv is from elsewhere or broken; making a new one"
        rm -rf "$venv"
    fi
    if [[ ! -e $venv ]]; then
        run "$python" -m venv "$venv" || fail "$(reason)" "remove $venv, then $again again"
    fi
    done_in "$("$venv/bin/python" --version) in $venv"
}

processor() { # what decides which instructions a native build may use; other lines (clock rate, …) change by the minute
    grep -E '^(vendor_id|cpu family|model|flags|Features|CPU implementer|CPU architecture|CPU variant|CPU part)\s*:' \
        /proc/cpuinfo | sort -u
}

cmake_options() {
    local options="-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF"
    # A compiler cache would hand out what it once compiled as "native" on another processor.
    options+=" -DLLAMA_BUILD_SERVER=OFF -DGGML_CCACHE=OFF"
    if grep -qw amx_tile /proc/cpuinfo; then
        # A native build of 0.3.36 uses AMX and crashes at the first token: name all but that.
        options+=" -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
        local flag
        for flag in avx512f:AVX512 avx512_vbmi:AVX512_VBMI avx512vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI \
            avx512_bf16:AVX512_BF16 avx_vnni:AVX_VNNI; do
            if grep -qw "${flag%:*}" /proc/cpuinfo; then options+=" -DGGML_${flag#*:}=ON"; fi
        done
    else
        options+=" -DGGML_NATIVE=ON"
    fi
    echo "$options${CMAKE_ARGS:+ $CMAKE_ARGS}"
}

parallel_jobs() { # by cores, and by memory: a file of llama.cpp takes up to 700 MB to compile
    local cores memory_jobs
    cores=$(nproc)
    memory_jobs=$(awk '/^MemAvailable:/ {print int($2 / 700000)}' /proc/meminfo)
    ((memory_jobs < cores)) && cores=$memory_jobs
    echo $((cores > 0 ? cores : 1))
}

llama_version() { sed -n 's/^ *"llama-cpp-python==\([0-9.]*\)".*/\1/p' "$root/pyproject.toml"; }

wheel_key() { # wheel_key PYTHON: stands for everything that the compiled engine depends on
    {
        llama_version
        cmake_options
        "$1" -c 'import sys; print("cp%d%d" % sys.version_info[:2])'
        uname -m
        processor
        "${CXX:-c++}" --version 2>/dev/null || true
    } | sha256sum | cut -c1-16
}

is_whole() { # is_whole WHEEL: whether it is there, as a zip without a damaged file
    [[ -f $1 ]] && "$venv/bin/python" -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' \
        "$1" &>>"$log"
}

llama_engine() { # llama_engine KEY: compiles llama-cpp-python unless the cache has it, and installs it
    begin "llama-cpp-python for this processor"
    local wheels=$cache/wheels/$1 jobs version
    version=$(llama_version)
    if [[ $(cat "$venv/.llama" 2>/dev/null) == "$1" ]]; then
        done_in "there"
        return
    fi
    # A run that broke off, or a power cut, may have left half of it.
    if ! is_whole "$wheels"/llama_cpp_python-"$version"-*.whl; then rm -rf "$wheels"; fi
    if [[ $mode == appliance ]]; then take_wheel_of_user "$1"; fi
    if ! compgen -G "$wheels/llama_cpp_python-$version-*.whl" >/dev/null; then
        if [[ $mode == appliance ]]; then swap_on; fi
        jobs=$(parallel_jobs)
        say "compiling $version with $jobs job(s): some minutes on a PC, up to half an hour on a Raspberry Pi 4"
        # Not in /tmp: that lies in memory on Debian 13, and the build needs half a gigabyte.
        scratch=$(mktemp -d "$cache/build.XXXXXX")
        (
            export TMPDIR=$scratch CMAKE_BUILD_PARALLEL_LEVEL=$jobs
            CMAKE_ARGS=$(cmake_options)
            export CMAKE_ARGS
            run "$venv/bin/python" -m pip wheel -v --no-deps --no-cache-dir --no-binary llama-cpp-python \
                --wheel-dir "$scratch/wheel" "llama-cpp-python==$version"
        ) || fail "$(reason)" "mend that, then $again again"
        mkdir -p "$cache/wheels"
        rm -rf "$wheels"
        mv "$scratch/wheel" "$wheels"
        rm -rf "$scratch"
        if [[ $mode == appliance ]]; then swap_off; fi
    else
        say "compiled before for this processor: $wheels"
    fi
    run "$venv/bin/python" -m pip install --no-deps --force-reinstall "$wheels"/llama_cpp_python-"$version"-*.whl ||
        fail "$(reason)" "remove $wheels, then $again again"
    echo "$1" >"$venv/.llama"
    done_in "installed"
}

libraries() { # libraries KEY: the project itself and what it needs, if pyproject.toml changed since
    begin "The assistant and its libraries"
    local what=$root stamp
    if [[ $mode == test ]]; then what="${root}[dev]"; fi
    stamp=$(cat "$root/pyproject.toml" - <<<"$1 $what" | sha256sum)
    if [[ -x $venv/bin/assistant && $(cat "$venv/.installed-$mode" 2>/dev/null) == "$stamp" ]]; then
        done_in "there"
        return
    fi
    run "$venv/bin/python" -m pip install -e "$what" || fail "$(reason)" "mend that, then $again again"
    gpio_library
    echo "$stamp" >"$venv/.installed-$mode"
    done_in "installed"
}

gpio_library() { # lgpio, for a button at a GPIO pin: for Python 3.13 it comes with Raspberry Pi OS alone
    local packages file
    if ! getent group gpio >/dev/null || "$venv/bin/python" -c 'import importlib.util, sys
sys.exit(importlib.util.find_spec("lgpio") is None)'; then
        return
    fi
    if [[ -n $(missing_packages python3-lgpio) ]] && ! apt_install python3-lgpio; then
        say "not installed: python3-lgpio, without which a button at a GPIO pin does not work"
        return
    fi
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    for file in /usr/lib/python3/dist-packages/{lgpio.py,_lgpio*.so}; do
        if [[ -e $file ]]; then ln -sf "$file" "$packages/"; fi
    done
}

# ---------------------------------------------------------------- try, and the appliance

models_there() { # whether real models are on disk, of which a plan for this board can be made
    "$venv/bin/python" - "$config" <<'END' >>"$log" 2>&1
import sys
from pathlib import Path
from assistant.board.memory import MemoryGauge
from assistant.config import load
from assistant.plan import planner
from assistant.plan.selection import select

config = load(Path(sys.argv[1]) if sys.argv[1] else None)
plan = select(planner.gather(config, planner.budget_bytes(MemoryGauge()), only_on_disk=True))
models = (plan.stt, plan.llm, plan.tts)
sys.exit(any(model is None or model.test_model for model in models))
END
}

hub_answers() {
    timeout 10 "$venv/bin/python" - <<'END' >>"$log" 2>&1
import os, urllib.error, urllib.request

hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
try:
    urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=5)
except urllib.error.HTTPError:
    pass  # it answers
END
}

models() {
    begin "Models"
    local why serve="the small test models serve"
    if [[ -n $models_from ]]; then
        say "copying from $models_from"
        free_memory
        "$venv/bin/assistant" --config "$config" models import "$models_from" 2> >(tee -a "$log" >&2) ||
            fail "not every model in $models_from could be copied" "mend what is said above, then $again again"
    fi
    if models_there; then
        real_models=yes
        done_in "there"
        return
    elif [[ -n $models_from ]]; then
        why="What lies in $models_from is not enough for this board"
        serve="for what is missing the small test models serve"
    elif ! hub_answers; then
        why="The network does not give the models"
    elif free_memory && "$venv/bin/assistant" ${config:+--config "$config"} models pull 2> >(tee -a "$log" >&2); then
        real_models=yes
        done_in "fetched"
        return
    else
        why="Not all models could be fetched ($again goes on where it stopped)"
        serve="for those the small test models serve"
    fi
    say "$why; $serve:"
    say "they know capitals, opposites, sums up to eighteen, days, months, planets … and nothing else."
    done_in "test models"
}

microphone() { # whether there is one
    "$venv/bin/assistant" devices --json 2>>"$log" | "$venv/bin/python" -c '
import json, sys
sys.exit(not any(device["kind"] == "microphone" for device in json.load(sys.stdin)))' 2>>"$log"
}

read_arguments() { # what of the assistant's arguments matters here: a configuration, a command, typing
    config="" command="" text=""
    local awaits_config="" argument
    for argument in "$@"; do
        if [[ -n $awaits_config ]]; then
            config=$argument awaits_config=""
        else
            case $argument in
                --config) awaits_config=yes ;;
                --config=*) config=${argument#*=} ;;
                --text | -h | --help) text=yes ;;
                -*) ;;
                *) command=yes && break ;;
            esac
        fi
    done
}

start() { # start ARGUMENTS…: hands over to the assistant
    begin "Start"
    cat <<END
      Set up. What to type from now on, in $root:
        .venv/bin/assistant                 speak and listen
        .venv/bin/assistant --text          type instead
        .venv/bin/assistant ask "What is the capital of France?"
        .venv/bin/assistant --help          everything else
END
    if [[ -z $command ]]; then
        # Neither a terminal nor something to read (an open pipe may stay silent for ever): nothing to start for.
        if [[ ! -t 3 ]] && { [[ -c /dev/fd/3 ]] || ! read -r -t 0 -u 3; }; then
            done_in "nobody to talk to, so nothing is started"
            return
        fi
        if [[ -z $text ]] && { [[ ! -t 3 ]] || ! microphone; }; then
            if [[ -t 3 ]]; then say "There is no microphone: type your questions."; fi
            set -- --text "$@"
        fi
    fi
    exec "$venv/bin/assistant" "$@" <&3 3<&- 9<&-
}

# ---------------------------------------------------------------- test

failed=()

check() { # check NAME COMMAND…: a line that says how it went; the output only if it went wrong
    local name=$1 began_s=$SECONDS output closing
    shift
    output=$(mktemp "$cache/check.XXXXXX")
    echo "+ $*" >>"$log"
    if "$@" 2>&1 | tee "$output" | progress; then
        closing=$(awk 'NF {l = $0} END {print l}' "$output")
        if [[ $name == pytest ]]; then closing=$'\n'$closing; else closing=${closing:+: $closing}; fi
        say "$(printf '%-12s' "$name") ok, $(clock $((SECONDS - began_s)))$closing"
    else
        failed+=("$name")
        say "$(printf '%-12s' "$name") FAILED, $(clock $((SECONDS - began_s))):"
        tail -n 60 "$output"
    fi
    cat "$output" >>"$log"
    rm -f "$output"
}

checks() {
    begin "Checks and tests"
    cd "$root"
    check "ruff check" "$venv/bin/ruff" check .
    check "ruff format" "$venv/bin/ruff" format --check .
    check "mypy" "$venv/bin/mypy"
    check "lint-imports" "$venv/bin/lint-imports"
    if command -v shellcheck >/dev/null; then
        check "shellcheck" shellcheck -x install.sh systemd/appliance.sh tests/appliance/rootfs.sh .ci/run
    else
        say "shellcheck   skipped: it is not installed"
    fi
    check "pytest" "$venv/bin/python" -m pytest -q
    if ((EUID == 0)); then
        check "appliance" "$venv/bin/python" -m pytest -q -m appliance tests/appliance
    else
        say "appliance    skipped: only root can boot a machine; sudo .venv/bin/python -m pytest -m appliance tests/appliance"
    fi
    done_in "done"
}

main_job_works() { # main_job_works FOLDER: a recorded question in, its answer as sound out, and that recognised
    local sound=$1/answer.wav
    local -a assistant=("$venv/bin/assistant" --config "$1/config.toml")
    # An empty models' folder and a socket of its own: the test models, whatever this machine has or runs.
    printf '[models]\nfolder = "%s"\n[daemon]\nsocket = "%s"\n' "$1" "$1/daemon.sock" >"$1/config.toml"
    timeout 300 "${assistant[@]}" run --mic tests/audio/q00.wav --speaker "$sound" --json >"$1/events" || return 1
    "$venv/bin/python" - "$1/events" <<'END' || return 1
import json, sys

texts = {}
for line in open(sys.argv[1], encoding="utf-8"):
    event = json.loads(line)
    if event["event"] in ("transcript", "answer"):
        texts[event["event"]] = event["text"]
        print(f"      {event['event']:<12} {event['text']}")
sys.exit("Germany" not in texts.get("transcript", "") or "Berlin" not in texts.get("answer", ""))
END
    local spoken
    spoken=$(timeout 120 "${assistant[@]}" transcribe "$sound") || return 1
    say "$(printf '%-12s' recognised) $spoken"
    [[ $spoken == *Berlin* ]]
}

main_job() {
    begin "A recorded question, its spoken answer recognised"
    cd "$root"
    local folder
    folder=$(mktemp -d)
    if main_job_works "$folder" 2> >(tee -a "$log" >&2); then
        done_in "the question and the answer are right"
    else
        failed+=("main job")
        done_in "FAILED: a question about Germany and the answer Berlin, twice, were expected"
    fi
    rm -rf "$folder"
}

# ---------------------------------------------------------------- main

if [[ -n ${SUDO_USER-} && $EUID == 0 && $mode != appliance && $mode != uninstall ]]; then
    echo "install.sh: run $again without sudo; it asks for it where it needs it." >&2
    exit 2
fi
if [[ $mode == uninstall ]]; then
    uninstall
    exit 0
fi
if ! mkdir -p "$cache" "$locked" || ! : >"$log"; then
    echo "install.sh: $cache cannot be written; make it writable or set XDG_CACHE_HOME to a folder that is." >&2
    exit 1
fi
# Nothing but the assistant may read what is piped in: keep standard input aside for it.
{ exec 3<&0; } 2>/dev/null || exec 3</dev/null
exec </dev/null
exec 9<"$locked"
if ! flock -n 9; then
    echo "install.sh: another ./install.sh is at work in $locked; wait for it." >&2
    exit 1
fi
trap 'rm -rf ${scratch:+"$scratch"}; [[ $mode != appliance ]] || leave' EXIT
trap 'echo; echo "install.sh: stopped in step $step ($title); $again goes on from there." >&2; exit 130' INT TERM
trap 'echo "install.sh: step $step ($title) broke off in line $LINENO; the full output is in $log." >&2' ERR

check_machine
if [[ $mode == appliance ]]; then
    install_appliance
    exit 0
fi
system_packages
python_environment
key=$(wheel_key "$venv/bin/python")
llama_engine "$key"
libraries "$key"
if [[ $mode == try ]]; then
    read_arguments "$@"
    models
    start "$@"
else
    checks
    main_job
    if ((${#failed[@]})); then
        echo "install.sh: failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//'); the full output is in $log." >&2
        exit 1
    fi
    echo "All checks passed. Next: .venv/bin/assistant --text, or .venv/bin/python -m pytest after a change."
fi
