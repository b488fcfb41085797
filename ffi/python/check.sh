#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh environment, and runs its tests: ffi/python/check.sh [PYTEST ARGUMENTS]. Needs python3 (3.9 or later) with venv and pip, which get
# maturin, pytest and NumPy, and a Rust toolchain. PYTHON names another interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d "${TMPDIR:-/tmp}/sharehold-python.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
# Kept from run to run, and out of the way of the library's own builds.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}
export PIP_DISABLE_PIP_VERSION_CHECK=1
timeout 1500 "$work/venv/bin/pip" install --quiet "$here[test]"

# Not beside the sources: what is tested is what was installed.
cp -r "$here/tests" "$here/pyproject.toml" "$work"
cd "$work"
timeout 900 "$work/venv/bin/python" -m pytest -q -p no:cacheprovider "$@"
