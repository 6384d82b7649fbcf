#!/usr/bin/env bash
# Runs the tests. They need ONNX Runtime's shared library: that of ORT_DYLIB_PATH, or of the active Python, or else
# one that is installed with pip into target/python. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# The library in the onnxruntime package, looked for as safe-onnx does: without importing it.
library() {
  PYTHONPATH="${1:-${PYTHONPATH:-}}" python3 - <<'PY'
import glob, importlib.util, os
spec = importlib.util.find_spec("onnxruntime")
if spec and spec.submodule_search_locations:
    capi = os.path.join(list(spec.submodule_search_locations)[0], "capi")
    found = sorted(glob.glob(os.path.join(capi, "libonnxruntime.so*")) + glob.glob(os.path.join(capi, "libonnxruntime*.dylib")))
    print(found[0] if found else "")
PY
}

if [[ -z "${ORT_DYLIB_PATH:-}" ]]; then
  ORT_DYLIB_PATH="$(library)"
  packages="${CARGO_TARGET_DIR:-target}/python"
  if [[ -z "$ORT_DYLIB_PATH" ]]; then
    ORT_DYLIB_PATH="$(library "$packages")"
  fi
  if [[ -z "$ORT_DYLIB_PATH" ]]; then
    echo "installing onnxruntime into $packages" >&2
    python3 -m pip install --quiet --disable-pip-version-check --target "$packages" "onnxruntime>=1.17"
    ORT_DYLIB_PATH="$(library "$packages")"
  fi
  if [[ -z "$ORT_DYLIB_PATH" ]]; then
    echo "error: no ONNX Runtime library; name one with ORT_DYLIB_PATH" >&2
    exit 2
  fi
  # A relative path would depend on the folder that a test runs in.
  ORT_DYLIB_PATH="$(cd "$(dirname "$ORT_DYLIB_PATH")" && pwd)/$(basename "$ORT_DYLIB_PATH")"
fi
export ORT_DYLIB_PATH
echo "ONNX Runtime: $ORT_DYLIB_PATH" >&2
exec cargo test --release --workspace "$@"
