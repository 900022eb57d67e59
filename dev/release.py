"""Whether what ``make dist`` has built may be published: ``python -m dev.release``.

A commit without a tag of a version is built for trying out. With one, the tag, the version of the package, the
changelog and the files have to agree.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_kumo import __version__

if TYPE_CHECKING:
    from collections.abc import Collection

REPOSITORY = Path(__file__).parent.parent
# Semantic Versioning's MAJOR.MINOR.PATCH, before which only the forms that PyPI knows too: 1.0.0, 1.0.0rc1, 1.0.0.dev1.
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+|\.dev\d+)?")


def objections(version: str, *, tags: Collection[str], changelog: str, changed: Collection[str]) -> list[str]:
    """Return what speaks against publishing a commit, in sentences; nothing if it is not tagged.

    :param version: the package's version.
    :param tags: the tags of the commit.
    :param changelog: the text of the changelog.
    :param changed: files that differ from the commit.
    """
    found = []
    if not _VERSION.fullmatch(version):
        found.append(f"The version {version} is not of the form 1.2.3, 1.2.3rc1 or 1.2.3.dev1.")
    releases = sorted(tag for tag in tags if re.match(r"v\d", tag))
    if not releases:
        return found
    if releases != [f"v{version}"]:
        found.append(f"The tag is {', '.join(releases)}, but airflow_provider_kumo.__version__ is {version}.")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section '## [{version}] - <year>-<month>-<day>'.")
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    if unreleased and re.search(r"^- ", unreleased[1], re.MULTILINE):
        found.append(f"CHANGELOG.md still has lines under Unreleased: move them to {version}.")
    if changed:
        found.append(f"Files differ from the tagged commit: {', '.join(sorted(changed))}.")
    return found


def main() -> int:
    """Print what speaks against publishing this commit, or what it may be published as.

    :returns: the exit code: 1 if anything speaks against it.
    """
    tags = _git("tag", "--points-at", "HEAD")
    found = objections(
        __version__,
        tags=tags,
        changelog=(REPOSITORY / "CHANGELOG.md").read_text(),
        changed=[line[3:] for line in _git("status", "--porcelain")],
    )
    for objection in found:
        print(objection, file=sys.stderr)
    if not found:
        state = "may be published" if f"v{__version__}" in tags else "not tagged, so for trying out only"
        print(f"airflow-provider-kumo {__version__}: {state}")
    return 1 if found else 0


def _git(*arguments: str) -> list[str]:
    run = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
