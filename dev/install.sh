#!/bin/sh
# Make a virtual environment that holds exactly a list of pinned packages: dev/install.sh <environment> <list> <log>
#
# The list is complete, so pip resolves nothing (--no-deps) and `pip check` tells whether it was. What pip says goes
# to the log and is shown only when something fails.
set -eu

environment=$1 list=$2 log=$3
here=$(dirname "$0")
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
    cat "$log" >&2
    echo "$1 (the lines above are in $log)" >&2
    exit 1
}

mkdir -p "$(dirname "$log")"
: >"$log"

# An environment whose Python has gone (upgraded, or the folder was moved) cannot be mended: start again.
if [ -d "$environment" ] && ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$environment"
fi
if [ ! -d "$environment" ]; then
    python=$("$here/python.sh")
    "$python" -m venv "$environment" >"$log" 2>&1 || {
        rm -rf "$environment"
        fail "Cannot make a virtual environment with $python. On Debian and Ubuntu: apt install python3-venv"
    }
fi
# Byte code is written by whoever imports first; compiling all 20 000 files takes longer than the rest of the demo.
"$environment/bin/python" -m pip install --no-deps --no-compile -r "$list" >>"$log" 2>&1 ||
    fail "Cannot install $list into $environment"
