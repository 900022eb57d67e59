"""The hooks before a commit are ``make lint``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parent.parent.parent
CONFIG = REPOSITORY / ".pre-commit-config.yaml"


def test_hooks_are_what_make_lint_consists_of() -> None:
    [repo] = yaml.safe_load(CONFIG.read_text())["repos"]
    lint = re.search(r"^lint: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert lint is not None
    assert [hook["entry"] for hook in repo["hooks"]] == [f"make {target}" for target in lint[1].split()]
    # Nothing is fetched, and the versions are those of the pins.
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}


def test_pre_commit_takes_the_configuration() -> None:
    check = [sys.executable, "-m", "pre_commit", "validate-config", str(CONFIG)]
    assert subprocess.run(check, check=False).returncode == 0
