#!/usr/bin/env bash
# tests/gpu.sh [ARGUMENT OF BENCH MODELS ...]
#
# On a machine with an NVIDIA GPU: the tests that need one, then a table of how fast every network is in every engine.
# Installs onnxruntime-gpu and TensorRT, gigabytes, into the environment that run.sh makes.

set -euo pipefail

export MORPHCAM_DEVICE=gpu
source "$(dirname -- "${BASH_SOURCE[0]}")/../run.sh"

nvidia-smi --list-gpus 2>/dev/null | grep '^GPU ' >&2 || fail "no NVIDIA driver answers here; see nvidia-smi"
set_up dev tensorrt
cd -- "$checkout"
"$venv_python" -m models default
failed=0
"$venv_python" -m pytest -m gpu tests/test_gpu.py || failed=1
"$venv_python" -I -m live bench models "$@" || failed=1
((failed == 0)) || fail "something failed; see above"
