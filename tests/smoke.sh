#!/bin/sh
# The wheel as a user gets it: built, installed without any extra in a fresh environment, and used.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}

"$python" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --quiet --quiet --disable-pip-version-check"
$pip wheel --no-deps --wheel-dir "$work/dist" "$here"
# --no-compile: only what is used gets compiled, at the first start; the rest takes 40 MB.
$pip install --no-compile --constraint "$here/constraints.txt" "$work"/dist/intentd-*.whl

cd "$work"  # so that nothing is imported from the checkout
PATH="$work/venv/bin:$PATH"
for forbidden in torch transformers optimum onnx; do
  if python -c "import $forbidden" 2>/dev/null; then
    echo "smoke: the edge must not bring $forbidden" >&2
    exit 1
  fi
done
intentd --version
intentd --help >/dev/null
intentd doctor
intentd classify --local --json "find the invoice from May" | grep -q '"label"'

intentd serve --socket "$work/s/api.sock" >"$work/serve.log" 2>&1 &
daemon=$!
tries=0
until intentd status --socket "$work/s/api.sock" >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 150 ] || { cat "$work/serve.log" >&2; kill "$daemon"; exit 1; }
  sleep 0.2
done
intentd classify --socket "$work/s/api.sock" "find the invoice from May" | grep -q SEARCH_ONLY
kill "$daemon"
wait "$daemon"

packages=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
size=$(du -sb --exclude=pip --exclude='pip-*' --exclude=setuptools --exclude='setuptools-*' \
  --exclude=pkg_resources "$packages" | cut -f1)
echo "smoke: the installed wheel works; installed size $((size / 1000000)) MB"
