"""Gates that a task passes: it writes which process it is, and may be held there until the harness says so.

Files, because a task that is killed with SIGKILL can neither clean up nor say goodbye. Imported by the DAGs as well as
by the harness, so it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER_VARIABLE: Final = "KUMO_FAULTS_GATES"

START: Final = "start"
BEFORE_POST: Final = "before_post"
BEFORE_DEFER: Final = "before_defer"
WAITING_HERE: Final = "waiting_here"
RESUME: Final = "resume"
DELIVERED: Final = "delivered"

_LONGEST_HOLD = 600.0
_STEP = 0.05


@dataclass(frozen=True)
class Gates:
    """The gates of one run's task.

    :param folder: where this run's files are.
    :param held: the gate at which the task is held, if any.
    :param tries: which of its tries are.
    """

    folder: Path
    held: str | None = None
    tries: tuple[int, ...] = (1,)

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> Gates:
        """Return the gates of the running task, as its run's ``conf`` wants them."""
        conf = context["dag_run"].conf or {}
        folder = Path(os.environ[FOLDER_VARIABLE]) / context["ti"].run_id
        return cls(folder, conf.get("hold"), tuple(conf.get("tries", (1,))))

    # The task's side

    def leave(self, gate: str, try_number: int) -> None:
        """Pass a gate, or wait in front of it.

        :raises TimeoutError: nobody opened it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / f"{gate}.{try_number}.{os.getpid()}"
        note.with_suffix(".part").write_text(str(os.getpid()))
        note.with_suffix(".part").rename(self.folder / f"{gate}.{try_number}")
        if gate != self.held or try_number not in self.tries:
            return
        deadline = time.monotonic() + _LONGEST_HOLD
        while not (self.folder / "open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nobody opened the gate {gate} in {_LONGEST_HOLD:g} s")
            time.sleep(_STEP)

    # The harness's side

    def open(self) -> None:
        """Let the task go on, now and whenever it comes again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "open").touch()

    def process_at(self, gate: str, try_number: int = 1) -> int | None:
        """Return the process that has reached a gate, if one has."""
        note = self.folder / f"{gate}.{try_number}"
        return int(note.read_text()) if note.exists() else None

    def processes(self) -> set[int]:
        """Return every process that has passed any gate."""
        notes = [note for note in self.folder.glob("*.*") if note.suffix != ".part"] if self.folder.exists() else []
        return {int(note.read_text()) for note in notes}
