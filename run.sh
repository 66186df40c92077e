#!/usr/bin/env bash
# ./run.sh [ARGUMENT ...]
#
# Makes the environment (.venv, beside this file) if it is missing or out of date, fetches the models if they are
# missing, and runs the application with the arguments. Needs bash and Python 3.10 or newer, nothing else.
#
#   MORPHCAM_PYTHON   the Python to make the environment with; otherwise the first that is new enough
#   MORPHCAM_DEVICE   cpu or gpu; otherwise gpu where an NVIDIA driver answers
#   MORPHCAM_CACHE    where the models are kept; otherwise in the user's cache folder
#
# tests/run.sh sources this file for `set_up`.

set -euo pipefail

find_checkout() {
    local file="${BASH_SOURCE[0]}" target
    while [[ -L $file ]]; do # called through a link from elsewhere, such as ~/bin/morphcam
        target="$(readlink "$file")"
        [[ $target == /* ]] || target="$(dirname -- "$file")/$target"
        file="$target"
    done
    CDPATH='' cd -- "$(dirname -- "$file")" && pwd -P
}

checkout="$(find_checkout)"
venv="$checkout/.venv"
venv_python="$venv/bin/python"
[[ ${OSTYPE:-} != msys* && ${OSTYPE:-} != cygwin* ]] || venv_python="$venv/Scripts/python.exe"
stamp="$venv/installed" # extras, checkout, pyproject.toml of the last installation that came to its end
log="$venv/install.log"

say() { printf 'morphcam: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# The shared libraries that the OpenCV and MediaPipe wheels expect of a Linux desktop, and Debian's packages.
system_libraries='libxcb.so.1=libxcb1 libGL.so.1=libgl1 libEGL.so.1=libegl1 libGLESv2.so.2=libgles2
    libgthread-2.0.so.0=libglib2.0-0'

find_missing_libraries() { # PYTHON: prints the Debian packages that are missing
    [[ ${OSTYPE:-} == linux* ]] || return 0
    "$1" -I - "$system_libraries" <<'PYTHON'
import ctypes, sys
missing = []
for entry in sys.argv[1].split():
    library, package = entry.split("=")
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(package)
print(*missing)
PYTHON
}

find_python() { # prints the first Python that is new enough
    local candidate
    for candidate in ${MORPHCAM_PYTHON:+"$MORPHCAM_PYTHON"} python3 python3.{14,13,12,11,10} python; do
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        [[ $candidate != "${MORPHCAM_PYTHON:-}" ]] ||
            fail "MORPHCAM_PYTHON=$candidate is no Python 3.10 or newer; set it to one that is, or leave it out"
    done
    fail "no Python 3.10 or newer was found; install one (https://www.python.org, or your system's python3 package)"
}

choose_device() { # prints cpu or gpu
    case ${MORPHCAM_DEVICE:-} in
    cpu | gpu) printf '%s\n' "$MORPHCAM_DEVICE" ;;
    '')
        # A driver can take seconds to answer: one that did when the environment was made is not asked again.
        if [[ " $(stamped_extras) " == *' gpu '* ]] || nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '; then
            printf 'gpu\n'
        else
            printf 'cpu\n'
        fi
        ;;
    *) fail "MORPHCAM_DEVICE is '$MORPHCAM_DEVICE'; it must be cpu or gpu, or left out" ;;
    esac
}

stamped_extras() {
    [[ ! -r $stamp ]] || head -n 1 -- "$stamp"
}

is_installed() { # EXTRA ...: whether the environment is whole, of this pyproject.toml and place, with these extras
    [[ -x $venv_python && -r $stamp ]] || return 1
    local content extra
    content="$(<"$stamp")"
    [[ ${content#*$'\n'} == "$checkout"$'\n'"$(<"$checkout/pyproject.toml")" ]] || return 1
    for extra in "$@"; do
        [[ " ${content%%$'\n'*} " == *" $extra "* ]] || return 1
    done
}

lock() { # PYTHON: waits until no other process sets up this checkout; the kernel lets go when descriptor 9 is closed
    exec 9<"$checkout/pyproject.toml"
    if ! try_lock "$1" LOCK_NB; then
        say "another process is setting up $checkout; waiting for it"
        try_lock "$1" LOCK_EX
    fi
}

try_lock() { # PYTHON FLAG: fails if the lock is taken and the flag is LOCK_NB
    "$1" -I - "$2" <<'PYTHON'
import sys
try:
    import fcntl
except ImportError:  # Windows has no such lock
    sys.exit()
try:
    fcntl.flock(9, fcntl.LOCK_EX | getattr(fcntl, sys.argv[1]))
except BlockingIOError:
    sys.exit(1)
PYTHON
}

show_progress() { # pip's output on standard input: says what takes time
    local line wheel='Downloading (.*/)?([^-/ ]+)-([^-]+)-[^ ]*\.whl (\(.*\))'
    while IFS= read -r line; do
        if [[ $line =~ $wheel ]]; then
            say "  ${BASH_REMATCH[2]} ${BASH_REMATCH[3]} ${BASH_REMATCH[4]}"
        elif [[ $line == 'Installing collected packages: '* ]]; then
            say '  unpacking; this takes a minute'
        fi
    done
}

explain_installation() { # prints what pip's log means, in one line
    local pattern
    pattern='NewConnectionError|Connection refused|Network is unreachable|name resolution|Max retries|ProxyError'
    if grep -qE '\[Errno (28|122)\]|No space left|Disk quota' "$log"; then
        printf 'the disk is full'
    elif grep -qE "$pattern" "$log"; then
        printf 'the package index cannot be reached; check the network'
    else
        grep -E '^ *(ERROR|error): ' "$log" | grep -v subprocess-exited | tail -n 1 |
            sed -E 's/^ *(ERROR|error): //' | tr -d '\n' || printf 'pip does not say why'
    fi
}

install() { # PYTHON EXTRA ...
    local python="$1" extras packages
    shift
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make environments; on Debian or Ubuntu: sudo apt install $("$python" -I -c \
            'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    packages="$(find_missing_libraries "$python")"
    [[ -z $packages ]] ||
        fail "shared libraries for camera and window are missing; on Debian or Ubuntu: sudo apt install $packages"

    # Without a stamp an installation was cut short. Another place: its scripts hold the old path. Another device:
    # onnxruntime and onnxruntime-gpu write into the same folder. None can be mended in place.
    if [[ ! -x $venv_python || " $(stamped_extras) " != *" $1 "* ]] || ! sed -n 2p "$stamp" | grep -qxF "$checkout"; then
        say "making the environment in $venv"
        rm -f -- "$stamp"
        "$python" -I -m venv --clear "$venv" >&2 || fail "cannot make $venv; see above, then run this again"
    fi
    extras="$*"
    rm -f -- "$stamp"
    say "installing packages (${extras// /, }); the first time this takes minutes"
    if ! (cd -- "$checkout" && exec "$venv_python" -I -m pip install --no-input --disable-pip-version-check \
        --progress-bar off --editable ".[${extras// /,}]" 2>&1) | tee -- "$log" | show_progress; then
        fail "cannot install the packages: $(explain_installation); then run this again (all of it: $log)"
    fi
    printf '%s\n%s\n%s\n' "$extras" "$checkout" "$(<"$checkout/pyproject.toml")" >"$stamp.new"
    mv -f -- "$stamp.new" "$stamp"
}

# shellcheck disable=SC2120 # tests/run.sh passes extras
set_up() { # EXTRA ...: makes the environment have the application, its device's extra and these
    local device python extra extras
    device="$(choose_device)"
    ! is_installed "$device" "$@" || return 0
    python="$(find_python)"
    lock "$python"
    if ! is_installed "$device" "$@"; then
        extras=("$device" "$@")
        for extra in $(stamped_extras); do # what was added before stays
            [[ $extra == cpu || $extra == gpu || " ${extras[*]} " == *" $extra "* ]] || extras+=("$extra")
        done
        install "$python" "${extras[@]}"
    fi
    exec 9<&-
}

needs_models() { # ARGUMENT ...: whether these arguments run the application
    local argument
    [[ ${1:-} != pull && ${1:-} != doctor ]] || return 1
    for argument in "$@"; do
        case $argument in -h | --help | --list | --list=*) return 1 ;; esac
    done
}

main() {
    set_up
    if needs_models "$@"; then
        "$venv_python" -I -m models
    fi
    # -I: a folder named `live` or `models` where the user happens to be is not to be imported.
    exec "$venv_python" -I -m live "$@"
}

[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
