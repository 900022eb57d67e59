"""A clean environment for each Airflow: the built wheel, what it asks for, and nothing of the checkout.

The versions are those of ``requirements/``, taken as constraints: what the wheel does not ask for is not there, so a
dependency that is missing from its metadata is missing here too. uv makes one in seconds, from its cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
CACHE = REPOSITORY / ".cache"
AIRFLOWS = tuple(
    file.stem.removeprefix("airflow-") for file in sorted((REPOSITORY / "requirements").glob("airflow-*.txt"))
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment with the wheel.

    :param airflow: the version of Airflow in it.
    :param folder: where it is.
    :param scratch: an empty folder, outside of the checkout, that commands run in.
    """

    airflow: str
    folder: Path
    scratch: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    def run(self, command: str, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment to its end, as a user would who has no checkout.

        :param command: the name of a program in ``bin``.
        :param arguments: its arguments.
        :param timeout: seconds after which it is killed.
        :returns: its exit code and what it printed.
        """
        return subprocess.run(
            [str(self.folder / "bin" / command), *arguments],
            cwd=self.scratch,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @property
    def environ(self) -> dict[str, str]:
        """The variables that its commands see: nothing of Airflow, Kumo or Python from outside."""
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.scratch),
            "AIRFLOW_HOME": str(self.scratch / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }


def make(airflow: str, wheel: Path, scratch: Path, *, extra: str = "") -> Environment:
    """Make the environment of an Airflow, or bring the one of an earlier run up to date.

    :param airflow: the version of Airflow.
    :param wheel: what to install.
    :param scratch: see :class:`Environment`.
    :param extra: an extra of the wheel, such as ``emulator``.
    :returns: the environment.
    """
    folder = CACHE / "-".join(["wheel", airflow, *([extra] if extra else [])])
    uv("venv", "--allow-existing", "--python", sys.executable, str(folder))
    uv(
        *["pip", "install", "--python", str(folder)],
        # Nothing that an earlier run has left, and this wheel even if its version is the same.
        *["--exact", "--reinstall-package", "airflow-provider-kumo"],
        *["--constraint", str(REPOSITORY / "requirements" / f"airflow-{airflow}.txt")],
        f"apache-airflow=={airflow}",
        f"airflow-provider-kumo{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}",
    )
    return Environment(airflow=airflow, folder=folder, scratch=scratch)


def uv(*arguments: str) -> str:
    """Run uv.

    :param arguments: its arguments.
    :returns: what it said.
    """
    env = os.environ | {"UV_CACHE_DIR": str(CACHE / "uv"), "UV_PYTHON_DOWNLOADS": "never"}
    run = subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout
