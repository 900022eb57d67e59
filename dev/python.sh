#!/bin/sh
# Print the Python that .venv is made with: $PYTHON if given, else the first of the usual names that runs and is
# 3.11 or newer. Candidates are run, not only looked up: a pyenv shim exists for versions that do not start.
set -eu

recent='import sys; sys.exit(sys.version_info < (3, 11))'

for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c "$recent" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
    if [ "$candidate" = "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON does not run, or is older than 3.11." >&2
        exit 1
    fi
done

echo "No Python 3.11 or newer found (tried python3.13, python3.12, python3.11, python3)." >&2
echo "Install one, or name it: make PYTHON=/path/to/python3 ..." >&2
exit 1
