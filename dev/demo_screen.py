"""What the demo shows: bars on a terminal, a line for each change elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from airflow_provider_kumo.client.jobs import JobStatus, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import TaskID

    from airflow_provider_kumo.client.jobs import Job
    from dev.demo_jobs import Task


class Screen:
    """Prints; a terminal gets bars in addition."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            # Nothing is known about the width of a log, and wrapped links are broken links.
            self.console = Console(highlight=False, width=160)
        self._live: Live | None = None
        self._steps: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._linked: set[str] = set()
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=self.console,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.freeze()

    def say(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.console.print(text, markup=False, soft_wrap=True)

    def show(self, tasks: Iterable[Task]) -> None:
        """Bring the picture of the tasks up to date."""
        for task in tasks:
            if task.state is None and task.job is None:
                continue  # its turn has not come
            self._link(task)
            if self.console.is_terminal:
                self._draw(task)
            else:
                self._tell(task)

    def freeze(self) -> None:
        """Leave the bars as they are."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def results(self, tasks: Iterable[Task]) -> None:
        """Print what the jobs brought."""
        table = Table(title="Kumo's answer", title_justify="left")
        for column in ("task", "Kumo job", "status", "took", "result"):
            table.add_column(column, overflow="fold")
        for task in tasks:
            if task.job:
                table.add_row(task.task_id, task.job.id, task.job.status, _took(task.job), _outcome(task.job))
        self.console.print(table)

    def _link(self, task: Task) -> None:
        if task.job and task.job.tracking_url and task.job.id not in self._linked:
            self._linked.add(task.job.id)
            self.say(f"{task.task_id} in Kumo: {task.job.tracking_url}")

    def _draw(self, task: Task) -> None:
        if self._live is None:
            self._live = Live(self._bars, console=self.console, refresh_per_second=8)
            self._live.start()
        if task.task_id not in self._steps:
            self._steps[task.task_id] = self._bars.add_task(f"{task.task_id:<8}", total=None, start=False, text="")
        step = self._steps[task.task_id]
        if task.job and not self._bars.tasks[step].started:
            self._bars.start_task(step)
        percent = _percent(task)
        # A bar without a total pulses: something happens, but nobody knows how far it is.
        total = None if percent is None else 100
        self._bars.update(step, total=total, completed=percent or 0, text=_status(task))
        if task.job and task.job.is_terminal:
            self._bars.stop_task(step)

    def _tell(self, task: Task) -> None:
        step = _step(task)
        if self._said.get(task.task_id) == step:
            return
        self.say(f"{task.task_id}: {_status(task)}")
        self._said[task.task_id] = step


def _step(task: Task) -> str:
    """Return what makes a new line worth while: a status, a stage, a quarter."""
    if task.job is None:
        return str(task.state)
    return f"{task.job.status} {task.job.stage} {(_percent(task) or 0) // 25}"


def _status(task: Task) -> str:
    if task.job is None:
        return f"{task.state} in Airflow"
    parts = [task.job.status]
    if not task.job.is_terminal:
        if task.job.stage:
            parts.append(task.job.stage)
        percent = _percent(task)
        if percent is not None:
            parts.append(f"{percent} %")
        if task.progress and task.progress.seconds_left:
            parts.append(f"about {show_duration(task.progress.seconds_left)} left")
    return ", ".join(parts)


def _percent(task: Task) -> int | None:
    if task.job and task.job.status == JobStatus.DONE:
        return 100
    percent = task.progress.percent if task.progress else None
    # Exporting follows the last iteration: the check mark is for the end.
    return None if percent is None else min(percent, 99)


def _took(job: Job) -> str:
    if job.started_at is None or job.ended_at is None:
        return ""
    return show_duration((job.ended_at - job.started_at).total_seconds())


def _outcome(job: Job) -> str:
    if job.num_entities_predicted is not None:
        return f"{job.num_entities_predicted:,} entities predicted"
    test = job.metrics.get("test") or {}
    return ", ".join(f"{name} {value:.4g}" for name, value in test.items() if value is not None)
