# The appliance's part of install.sh, which sources this file: everything that a checkout does not need.
#
# An update is made beside the old version, which runs on until the new one has shown that it starts; the old one comes
# back if the new one then does not get ready, or if the run breaks off before that. In /opt/assistant lie, for that:
#   .new/   the new version while it is made ready     .old/   the old one until the new one is ready
#   venv    leads to venv-…, one for each set of libraries, processor and compiler
#   .runs   what the processes were last found ready with, so that only what has changed is restarted
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # install.sh reads and sets what seems unused or unset here

prefix=/opt/assistant
settings=/etc/assistant/config.toml
boot_settings=(/boot/firmware/assistant.toml /boot/assistant.toml)
command_link=/usr/local/bin/assistant
unit_folder=/usr/local/lib/systemd/system
sysusers=/usr/local/lib/sysusers.d/assistant.conf
tmpfiles=/usr/local/lib/tmpfiles.d/assistant.conf
kiosk_files=(/etc/systemd/system.conf.d/50-assistant-kiosk.conf /etc/systemd/journald.conf.d/50-assistant-kiosk.conf
    /etc/sysctl.d/50-assistant-kiosk.conf)
stages=(assistant.service assistant-stt.service assistant-llm.service assistant-tts.service)
sources=(assistant systemd tests/models models/catalogue.toml models/README.md install.sh config.toml pyproject.toml
    README.md LICENSE)
version_parts=("${sources[@]/%tests\/models/tests}" venv)
ready_within_s=900 # a model of some gigabytes on a slow card; the units' own limit is the same
swap=""
changing=""

install_appliance() {
    # What the commands measure and what pip keeps: all in one folder, which uninstall removes.
    export STATE_DIRECTORY=$cache PIP_CACHE_DIR=$cache/pip
    # /tmp lies in memory on Debian 13, and what pip unpacks takes half a gigabyte.
    export TMPDIR=$cache/tmp
    rm -rf "$TMPDIR"
    mkdir -p "$TMPDIR"
    config=$settings
    system_packages
    local python key
    local -a requirements
    python=$(usable_python) || fail "no Python 3.11, 3.12 or 3.13 with the venv module was found" \
        "run apt-get install python3-venv, then $again again"
    key=$(wheel_key "$python")
    mapfile -t requirements < <(requirements "$python")
    venv=$prefix/venv-$(sha256sum <<<"$key ${requirements[*]}" | cut -c1-12)
    python_environment
    llama_engine "$key"
    appliance_libraries "${requirements[@]}"
    new_version
    in_place
    appliance_models
    sounds
    board
    start_appliance
}

# ---------------------------------------------------------------- building

requirements() { # requirements PYTHON: the libraries that pyproject.toml names, a line each
    "$1" - "$root/pyproject.toml" <<'END'
import sys, tomllib

print(*tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"], sep="\n")
END
}

take_wheel_of_user() { # take_wheel_of_user KEY: what ./install.sh try compiled need not be compiled again
    local home
    home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6) || return 0
    if [[ -d $home/.cache/assistant/wheels/$1 && ! -e $cache/wheels/$1 ]]; then
        mkdir -p "$cache/wheels"
        cp -r "$home/.cache/assistant/wheels/$1" "$cache/wheels/"
    fi
}

swap_on() { # for the compiler, where there is little memory: a file of llama.cpp takes up to 700 MB
    local there_kib free_kib
    there_kib=$(awk '/^(MemAvailable|SwapFree):/ {sum += $2} END {print sum}' /proc/meminfo)
    free_kib=$(df --output=avail "$cache" | tail -n 1)
    ((there_kib < 2000000 && free_kib > 3000000)) || return 0
    swap=$cache/build.swap
    swapoff "$swap" &>>"$log" || true # of a run that lost its power
    say "little memory: with 1 GB of swap for as long as it compiles"
    if ! (umask 077 && dd if=/dev/zero of="$swap" bs=1M count=1024 && mkswap "$swap" && swapon "$swap") &>>"$log"; then
        say "there can be no swap here; going on without"
        rm -f "$swap"
        swap=""
    fi
}

swap_off() {
    [[ -n $swap ]] || return 0
    swapoff "$swap" &>>"$log" || true
    rm -f "$swap"
    swap=""
}

appliance_libraries() { # appliance_libraries REQUIREMENT…
    begin "The libraries"
    local packages
    if [[ -e $venv/.complete ]]; then
        done_in "there"
        return
    fi
    run "$venv/bin/python" -m pip install "$@" || fail "$(reason)" "mend that, then $again again"
    # What `pip install --editable` would do, without needing a network for its build.
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$prefix" >"$packages/assistant.pth"
    printf '#!%s -P\nimport sys\n\nfrom assistant.cli import main\n\nsys.exit(main())\n' "$venv/bin/python" \
        >"$venv/bin/assistant"
    chmod 755 "$venv/bin/assistant"
    gpio_library
    touch "$venv/.complete"
    done_in "installed"
}

# ---------------------------------------------------------------- the new version beside the old one, and in its place

project() ( # project FOLDER PART…: a tar of these parts of the project in FOLDER; the same for the same contents
    cd "$1" && shift || exit
    find "$@" \( -name __pycache__ -o -path tests/models/recipes \) -prune -o ! -type d -print0 | LC_ALL=C sort -z |
        tar -c --mtime=@0 --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' --no-recursion --null -T -
)

digest() { project "$1" "${sources[@]}" 2>>"$log" | sha256sum; } # digest FOLDER: the same for the same version

python_of() { # python_of FOLDER ARGUMENT…: with the version that lies there
    (cd / && PYTHONPATH=$1 PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "${@:2}")
}

starts() { # starts FOLDER: whether the version in it runs and finds every library
    python_of "$1" -m assistant --version && python_of "$1" - <<'END'
import importlib, pkgutil

import faster_whisper, gpiozero, jinja2, llama_cpp, piper, pymicro_wakeword, pywebrtc_audio, sounddevice, soundfile, soxr

import assistant

for module in pkgutil.walk_packages(assistant.__path__, "assistant."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
END
}

takes_settings() { # takes_settings FOLDER: whether the version in it understands them
    [[ -e $settings ]] || return 0
    python_of "$1" - "$settings" <<'END'
import sys
from pathlib import Path

from assistant.config import load
from assistant.errors import AssistantError

try:
    load(Path(sys.argv[1]))
except AssistantError as error:
    sys.exit(f"Error: {error}")
END
}

new_version() {
    begin "The new version, beside the old one"
    mkdir -p "$prefix/models"
    if [[ -d $prefix/.new && -d $prefix/.old ]]; then
        bring_back # a run broke off between the two
    fi
    if [[ $(readlink "$prefix/venv") == "${venv##*/}" && $(digest "$prefix") == "$(digest "$root")" ]]; then
        run starts "$prefix" || fail "$(reason)" "remove $venv, then $again again"
        run takes_settings "$prefix" || fail "$(reason)" "mend that, then $again again"
        done_in "there"
        return
    fi
    rm -rf "$prefix/.new"
    mkdir "$prefix/.new"
    project "$root" "${sources[@]}" 2>>"$log" | tar -x -C "$prefix/.new" &>>"$log" ||
        fail "$(reason)" "mend that, then $again again"
    ln -s "${venv##*/}" "$prefix/.new/venv"
    # The stages may write nothing there, so this is done now.
    run "$venv/bin/python" -m compileall -q -s "$prefix/.new" -p "$prefix" "$prefix/.new/assistant" ||
        fail "$(reason)" "mend that, then $again again"
    run starts "$prefix/.new" ||
        fail "$(reason)" "take another version, or remove $venv and run $again again; what is installed was left alone"
    run takes_settings "$prefix/.new" || fail "$(reason)" "mend that, then $again again"
    sync -f "$prefix/.new"
    done_in "it starts"
}

there() { [[ -e $1 || -L $1 ]]; } # venv's link leads nowhere from .new and .old

bring_back() { # the old version, all of it
    local part
    for part in "${version_parts[@]}"; do
        if there "$prefix/.old/$part"; then
            rm -rf "${prefix:?}/$part"
            mv -T "$prefix/.old/$part" "$prefix/$part"
        fi
    done
    rm -rf "$prefix/.old" "$prefix/.new"
}

swap_versions() { # the window in which neither is whole is some milliseconds; bring_back mends it
    local part
    rm -rf "$prefix/.old"
    mkdir -p "$prefix/.old/models"
    for part in "${version_parts[@]}"; do
        if there "$prefix/$part"; then mv -T "$prefix/$part" "$prefix/.old/$part"; fi
        if there "$prefix/.new/$part"; then mv -T "$prefix/.new/$part" "$prefix/$part"; fi
    done
    sync -f "$prefix"
    rm -rf "$prefix/.new"
}

in_place() {
    begin "User, settings and units"
    if [[ ! -e $settings ]]; then
        install -D -m 644 "$root/config.toml" "$settings"
        say "the settings are in $settings; an update leaves them alone"
    fi
    local before now
    before=$(grep '^all' "$prefix/.runs" 2>/dev/null) || true
    now=$(running | grep '^all')
    if [[ -d $prefix/.new || $before != "$now" ]]; then
        changing=yes
        if [[ $before != "$now" ]]; then stop_all; fi
        if [[ -d $prefix/.new ]]; then swap_versions; fi
    fi
    install_units
    if [[ ! -L $command_link && -e $command_link ]]; then
        say "$command_link is a file of your own and stays; the command is $prefix/venv/bin/assistant"
    else
        ln -sfn "$prefix/venv/bin/assistant" "$command_link"
    fi
    if [[ -n ${SUDO_USER-} && $SUDO_USER != root ]] && ! id -nG "$SUDO_USER" | grep -qw assistant; then
        usermod -aG assistant "$SUDO_USER"
        say "$SUDO_USER is in the group assistant from the next login on: \"assistant status\" works then without sudo"
    fi
    done_in "in place"
}

# ---------------------------------------------------------------- units

systemd_runs() { [[ -d /run/systemd/system ]]; } # not in an image that is being built

units_in() { # units_in FOLDER: the names of its units, a line each
    local path
    for path in "$1"/*.{service,socket,path,target,slice}; do
        if [[ -f $path ]]; then echo "${path##*/}"; fi
    done
}

install_units() {
    local unit folder
    local -a wanted=()
    install -D -m 644 "$prefix/systemd/sysusers.conf" "$sysusers"
    install -D -m 644 "$prefix/systemd/tmpfiles.conf" "$tmpfiles"
    run systemd-sysusers "$sysusers" || fail "$(reason)" "mend that, then $again again"
    run systemd-tmpfiles --create "$tmpfiles" || fail "$(reason)" "mend that, then $again again"
    mkdir -p "$unit_folder"
    for unit in $(units_in "$prefix/.old/systemd"); do # those that the new version no longer has
        if [[ ! -e $prefix/systemd/$unit ]]; then remove_unit "$unit"; fi
    done
    for unit in $(units_in "$prefix/systemd"); do
        install -m 644 "$prefix/systemd/$unit" "$unit_folder/$unit"
    done
    for folder in "$prefix"/systemd/*.service.d; do
        rm -rf "${unit_folder:?}/${folder##*/}"
        cp -a "$folder" "$unit_folder/"
    done
    gpio_pins "$unit_folder/assistant-vad.service.d"
    if systemd_runs; then systemctl daemon-reload; fi
    for unit in $(units_in "$prefix/systemd"); do
        if grep -q '^\[Install\]' "$prefix/systemd/$unit"; then wanted+=("$unit"); fi
    done
    run systemctl enable "${wanted[@]}" || fail "$(reason)" "mend that, then $again again"
}

gpio_pins() { # gpio_pins FOLDER: vad's way to a button, on boards with pins; a unit whose group is missing cannot start
    rm -rf "${1:?}"
    getent group gpio >/dev/null || return 0
    mkdir -p "$1"
    cat >"$1/20-gpio.conf" <<'END'
# A button at a GPIO pin wakes, interrupts and mutes (wake.button_gpio).
[Service]
SupplementaryGroups=gpio
DeviceAllow=char-gpiochip rw
END
}

remove_unit() { # remove_unit NAME
    if systemd_runs; then
        systemctl stop "$1" &>>"$log" || true
        systemctl reset-failed "$1" &>>"$log" || true
    fi
    systemctl disable "$1" &>>"$log" || true
    rm -f "$unit_folder/$1"
}

stop_all() {
    local -a units
    mapfile -t units < <(units_in "$prefix/systemd")
    if systemd_runs && ((${#units[@]})); then systemctl stop "${units[@]}" &>>"$log" || true; fi
}

running() { # what the processes are made of: a line for what concerns all of them, and one for each unit
    local unit file
    printf 'all %s\n' "$({
        project "$root" assistant tests/models models/catalogue.toml
        echo "$venv"
        for file in "$settings" "${boot_settings[@]}"; do
            if [[ -f $file ]]; then cat "$file"; fi
        done
        find "$prefix/models" -type f ! -name README.md ! -name catalogue.toml -printf '%P %s %T@\n' 2>/dev/null | sort
        cat "$root"/systemd/*.{slice,target} "$root"/systemd/*.d/*
    } | sha256sum)"
    for unit in $(units_in "$root/systemd"); do
        echo "$unit $(sha256sum <"$root/systemd/$unit")"
    done
}

# ---------------------------------------------------------------- models, and what is said when the voice cannot speak

appliance_models() {
    if [[ -z $models_from && $(cat "$prefix/.models_for" 2>/dev/null) == "$(running | grep '^all')" ]]; then
        begin "Models"
        done_in "there"
        return
    fi
    models
    chmod -R a+rX "$prefix/models" # the stages are another user
    if [[ -n $real_models ]]; then running | grep '^all' >"$prefix/.models_for"; fi
}

free_memory() { # the plan is for what the board has, not for what a running assistant leaves
    [[ $mode == appliance ]] || return 0
    changing=yes
    stop_all
}

sounds() {
    begin "Sounds of the faults"
    local old=$prefix/sounds new=$prefix/sounds.new now
    now=$(running | grep '^all')
    if [[ $(cat "$old/.made_for" 2>/dev/null) == "$now" ]]; then
        done_in "there"
        return
    fi
    rm -rf "$new"
    run "$venv/bin/assistant" --config "$settings" sounds --folder "$new" || fail "$(reason)" "mend that, then $again again"
    echo "$now" >"$new/.made_for"
    chmod -R a+rX "$new"
    rm -rf "$old"
    mv "$new" "$old"
    done_in "made"
}

# ---------------------------------------------------------------- the board

board() {
    begin "The board"
    local cmdline
    for cmdline in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
        if [[ -f $cmdline ]]; then
            memory_controller /sys/fs/cgroup/cgroup.controllers "$cmdline"
            break
        fi
    done
    if [[ -n $kiosk ]]; then kiosk_defaults; fi
    done_in "ready"
}

memory_controller() { # memory_controller CONTROLLERS CMDLINE: the Pi's kernel starts with cgroup_disable=memory
    if [[ ! -e $1 ]] || grep -qw memory "$1"; then return; fi
    if ! grep -qw cgroup_enable=memory "$2"; then
        # Of the two words the later one holds, and the firmware puts its own before these.
        if ! { cp "$2" "$2.before-assistant" && sed '1s/[[:space:]]*$/ cgroup_enable=memory/' "$2" >"$2.new" &&
            sync "$2.new" && mv "$2.new" "$2"; } 2>>"$log"; then
            say "$2 cannot be written: limits of memory do not work until cgroup_enable=memory stands in it"
            return
        fi
    fi
    say "limits of memory work after the next start of the machine: sudo reboot"
}

undo_memory_controller() { # undo_memory_controller CMDLINE
    [[ -e $1.before-assistant ]] || return 0
    sed '1s/ cgroup_enable=memory//' "$1" >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && rm "$1.before-assistant"
}

kiosk_defaults() { # a file each, so that uninstall can take it away again
    mkdir -p "${kiosk_files[@]%/*}"
    cat >"${kiosk_files[0]}" <<'END'
# The hardware restarts the machine if systemd itself hangs for 10 s; the watchdog of a Pi counts to 15 s at most.
[Manager]
RuntimeWatchdogSec=10s
END
    cat >"${kiosk_files[1]}" <<'END'
# The journal stays in memory: it is what would write to the SD card most often, and goes with the power.
[Journal]
Storage=volatile
RuntimeMaxUse=16M
END
    cat >"${kiosk_files[2]}" <<'END'
# Nobody is there to press a button: restart 10 s after the kernel panics.
kernel.panic = 10
# Swap to the card only when there is no memory at all; the assistant's plan never counts on swap.
vm.swappiness = 1
END
    say "kiosk: hardware watchdog, restart after a kernel panic, journal in memory, hardly any swap"
    apply_kiosk_files
}

apply_kiosk_files() {
    systemd_runs || return 0
    systemctl daemon-reload
    systemctl try-restart systemd-journald.service &>>"$log" || true
    if [[ -e ${kiosk_files[2]} ]]; then sysctl -q -p "${kiosk_files[2]}" &>>"$log" || true; fi
}

# ---------------------------------------------------------------- start

start_appliance() {
    begin "Start"
    if ! systemd_runs; then
        version_is_good
        done_in "systemd does not run here: the assistant starts when this system boots"
        return
    fi
    local now line
    local -a changed=()
    now=$(running)
    while IFS= read -r line; do
        if ! grep -qxF "$line" "$prefix/.runs" 2>/dev/null; then changed+=("${line%% *}"); fi
    done <<<"$now"
    if ((${#changed[@]} == 0)) && [[ $(systemctl is-active "${stages[@]}" | sort -u) == active ]]; then
        version_is_good
        done_in "nothing has changed, nothing was restarted"
        return
    fi
    changing=yes
    if [[ ${changed[0]-} == all ]]; then
        stop_all
    elif ((${#changed[@]})); then
        run systemctl --no-block try-restart "${changed[@]}"
    fi
    systemctl reset-failed "${stages[@]}" &>>"$log" || true # their restarts are counted from now on
    run systemctl --no-block start assistant.target assistant.socket
    if ! run until_ready; then
        fail "$(reason)" "read \"journalctl -u 'assistant*'\" or run \"sudo assistant doctor\", then $again again"
    fi
    echo "$now" >"$prefix/.runs"
    version_is_good
    it_listens
}

until_ready() { # until the daemon and the stages are active; the microphone's may wait for one
    local unit state restarts waiting began_s=$SECONDS
    while true; do
        waiting=""
        for unit in "${stages[@]}"; do
            state=$(systemctl show -P ActiveState "$unit") restarts=$(systemctl show -P NRestarts "$unit")
            if [[ $(systemctl show -P StatusText "$unit") == "waiting until there is memory for it" ]]; then
                continue # the plan answers typed questions only, and has said so
            fi
            if [[ $state != active ]]; then waiting=$unit; fi
            if [[ $state == failed ]] || { [[ $state != active ]] && ((restarts >= 3)); }; then
                echo "Error: $unit does not start: $(last_words "$unit")"
                return 1
            fi
        done
        [[ -n $waiting ]] || return 0
        echo "Preparing $waiting $(systemctl show -P StatusText "$waiting")"
        if ((SECONDS - began_s > ready_within_s)); then
            echo "Error: $waiting is not ready after $(clock "$ready_within_s")"
            return 1
        fi
        sleep 1
    done
}

last_words() { # last_words UNIT: the last line that its processes left in the journal since this step began
    local since="-$((SECONDS - step_began_s + 1))s" line
    line=$(journalctl -q -o cat -n 20 --since "$since" "_SYSTEMD_UNIT=$1" | grep -v ', ignoring: ' | tail -n 1) || true
    echo "${line:-it ends without a word}"
}

version_is_good() { # the new version stays: nothing needs to be kept to go back to
    local other
    changing=""
    rm -rf "$prefix/.old"
    touch "$prefix/.runs"
    for other in "$prefix"/venv-*; do
        if [[ $other != "$venv" ]]; then rm -rf "$other"; fi
    done
}

it_listens() {
    local said sentence="I am listening."
    # Not from the list of devices: one that is in use may be missing there.
    if [[ $(systemctl show -P ActiveState assistant-vad.service) != active ]]; then sentence="I am ready, but there is no microphone."; fi
    if ! said=$(timeout 120 "$venv/bin/assistant" say "$sentence" 2>&1 | tee -a "$log" | tail -n 1); then
        say "it could not say so aloud: ${said#assistant: }"
        say "\"sudo assistant doctor\" tells what is wrong"
    fi
    if [[ $sentence == *listening* ]]; then
        done_in "it listens: ask \"What is the capital of France?\""
    else
        done_in "it runs; plug in a microphone, and it listens"
    fi
    cat <<END
      It starts with the machine. What to type:
        assistant status                    what it does
        sudo assistant doctor               what is wrong, and what mends it
        journalctl -u 'assistant*'          what happened
        sudoedit $settings  settings; then $again
END
}

leave() { # whatever has ended install.sh: nothing half done stays
    local unit
    swap_off
    [[ -n $changing ]] || return 0
    if [[ -e $prefix/.old/assistant && -e $prefix/.runs ]]; then # one that was good
        stop_all
        bring_back
        for unit in $(units_in "$unit_folder"); do # those that only the new version has
            if [[ $unit == assistant* && ! -e $prefix/systemd/$unit ]]; then remove_unit "$unit"; fi
        done
        install_units
        echo "install.sh: the version before is in its place again." >&2
    fi
    if systemd_runs; then systemctl --no-block start assistant.target assistant.socket &>>"$log" || true; fi
}

# ---------------------------------------------------------------- uninstall

remove_empty() { rmdir --ignore-fail-on-non-empty "$@" 2>/dev/null || true; } # remove_empty FOLDER…: folders that may be ours

uninstall() {
    local unit path
    log=/dev/null
    if [[ ! -e $sysusers ]]; then echo "It is not installed; what may be left of it is taken away."; fi
    stop_all
    for unit in $(units_in "$prefix/systemd"; units_in "$root/systemd"); do
        remove_unit "$unit"
        rm -rf "${unit_folder:?}/$unit.d" "/run/systemd/system.control/$unit.d"
    done
    rm -rf "$unit_folder/assistant-.service.d"
    if [[ $(readlink "$command_link") == "$prefix"/* ]]; then rm "$command_link"; fi
    for path in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
        undo_memory_controller "$path"
    done
    if [[ -e ${kiosk_files[0]} ]]; then
        rm -f "${kiosk_files[@]}"
        remove_empty "${kiosk_files[@]%/*}"
        apply_kiosk_files
    fi
    if systemd_runs; then systemctl daemon-reload; fi
    rm -rf "$sysusers" "$tmpfiles" /run/assistant /var/lib/assistant /var/cache/assistant
    remove_empty "$unit_folder" "${unit_folder%/*}" "${sysusers%/*}" "${tmpfiles%/*}"
    if [[ -n $purge ]]; then
        rm -rf "$prefix" /etc/assistant
        if getent passwd assistant >/dev/null; then userdel assistant 2>/dev/null; fi
        if getent group assistant >/dev/null; then groupdel assistant; fi
        echo "The assistant is gone, with its settings and models; the packages from apt stay."
        return
    fi
    rm -f "$prefix"/models/{catalogue.toml,README.md}
    if [[ -d $prefix ]]; then
        find "$prefix" -mindepth 1 -maxdepth 1 ! -name models -exec rm -rf {} +
        rmdir --ignore-fail-on-non-empty "$prefix/models" "$prefix" 2>/dev/null || true
    fi
    echo "The assistant is gone. Its settings (/etc/assistant), downloaded models and the user assistant stay, which"
    echo "sudo ./install.sh uninstall --purge takes away, too; the packages from apt stay."
}
