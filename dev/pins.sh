#!/bin/sh
# Write a list of pinned packages: dev/pins.sh <list> <what to install, as pip arguments>
#
# Installs the newest of everything into a scratch environment and notes what came; names and versions only, so that
# the list holds no address.
set -eu

list=$1
shift
here=$(dirname "$0")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

"$("$here/python.sh")" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
"$scratch/venv/bin/python" -m pip check
{
    echo "# Written by dev/pins.sh; see requirements/README.md."
    "$scratch/venv/bin/python" -m pip freeze --exclude-editable --exclude airflow-provider-kumo | grep '^[A-Za-z0-9_.-]*=='
    case $list in */airflow-*) grep -v '^#' "$here/../requirements/markers.txt" ;; esac
} >"$scratch/list"
mv "$scratch/list" "$list"
echo "$list: $(grep -c == "$list") packages"
