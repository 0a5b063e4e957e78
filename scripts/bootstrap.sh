#!/bin/sh
# Make .venv and install the pinned requirements into it, only when they changed.
# Usage: scripts/bootstrap.sh REQUIREMENTS_FILE   (PYTHON names the interpreter, default python3)
set -eu
cd "$(dirname "$0")/.."
requirements=$1
python=${PYTHON:-python3}
stamp=.venv/installed-$(basename "$requirements" .txt)
started=$(date +%s)

fail() {
    echo "✗ $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "Python 3.11 or newer is needed and $python is not there; install it (Debian: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed and $python is $("$python" -c 'import platform; print(platform.python_version())'); name another one: make PYTHON=/path/to/python3.11"

# What was asked for, from which interpreter: a change of either means installing again.
wanted=$(cat requirements*.txt | cksum; "$python" -c 'import sys; print(sys.version_info[:2], sys.base_prefix)'; pwd)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

if ! .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv module is missing; install it (Debian: apt-get install python3-venv) and run make again."
    echo "· making .venv"
    rm -rf .venv 2>/dev/null || fail "The folder $(pwd) cannot be written, so .venv cannot be made."
    message=$("$python" -m venv .venv 2>&1) || {
        [ -w . ] || fail "The folder $(pwd) cannot be written, so .venv cannot be made."
        fail "Making .venv failed: $(echo "$message" | tail -n 1)"
    }
fi

echo "· installing $requirements (a few minutes the first time)"
log=.venv/pip.log
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --requirement "$requirements" >"$log" 2>&1; then
    if grep -qiE "Python\.h|gcc.*(No such file|not found)|unable to execute|command .*gcc" "$log"; then
        fail "A package has to be compiled here; install a compiler and Python's headers (Debian: apt-get install build-essential python3-dev) and run make again."
    elif grep -qiE "No space left" "$log"; then
        fail "The disk is full: free about 1 GB and run make again."
    elif grep -qiE "Temporary failure|connection|timed out|Max retries|proxy" "$log"; then
        fail "The package index cannot be reached, and it is needed the first time; see $(pwd)/$log."
    fi
    fail "Installing $requirements failed: $(grep -i error "$log" | tail -n 1); see $(pwd)/$log."
fi
echo "$wanted" >"$stamp"
echo "✓ $requirements installed ($(($(date +%s) - started)) s)"
