#!/usr/bin/env bash
# tests/run.sh [PYTEST ARGUMENT ...]
#
# Lint, types and all tests, in the environment that run.sh makes, with the dev extra added.
#
#   MORPHCAM_EXTRAS   further extras to add, such as train: tests that need what is not installed are skipped

set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/../run.sh"

# shellcheck disable=SC2086 # several extras are several words
set_up dev ${MORPHCAM_EXTRAS:-}
cd -- "$checkout"
# Training's tests measure faces with models that the application does not use.
"$venv_python" -m models default ${MORPHCAM_EXTRAS:+measure}

failed=()
check() { # NAME COMMAND ...: one failure does not hide the next
    say "$1"
    "${@:2}" || failed+=("$1")
}
check lint "$venv_python" -m ruff check .
check format "$venv_python" -m ruff format --check .
check types "$venv_python" -m mypy
check tests "$venv_python" -m pytest "$@"
((${#failed[@]} == 0)) || fail "failed: ${failed[*]}; see above"
