#!/bin/sh
# Install a requirements file into .venv, which is made first if it is missing or incomplete.
#
#   PYTHON=python3 sh scripts/venv.sh requirements.txt
#
# .venv/unfinished exists while something is being made or installed. If it is there at the start,
# .venv is made again: an interruption may leave packages that look installed and are not.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

python=${PYTHON:-python3}
if [ ! -x .venv/bin/python ] || [ -e .venv/unfinished ]; then
    command -v "$python" >/dev/null ||
        fail "there is no $python; install Python 3.10 or later, or name one: make PYTHON=/path/to/python"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$python is $version, and 3.10 or later is needed; name another: make PYTHON=/path/to/python"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no module venv; on Debian and Ubuntu: apt install python$version-venv"
    echo "making .venv with $python $version: 6 GB, most of it torch and CUDA; some minutes, once"
    rm -rf .venv
    mkdir .venv
    touch .venv/unfinished
    "$python" -m venv .venv
fi
touch .venv/unfinished
echo "installing $1"
.venv/bin/python -m pip --disable-pip-version-check install --no-input -r "$1"
rm .venv/unfinished
