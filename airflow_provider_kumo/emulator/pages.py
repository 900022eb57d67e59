"""The tracking pages: what a person sees who follows the link of a job."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.context import STORE
from airflow_provider_kumo.emulator.metrics import epoch_scores, final_scores, scores_of
from airflow_provider_kumo.emulator.records import JobRecord, Kind
from airflow_provider_kumo.emulator.wire import utc

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.lifecycle import JobView, ProgressView
    from airflow_provider_kumo.emulator.store import Store

#: Jobs on the list page; more would not be read.
LISTED = 200

#: Nothing is loaded from anywhere, and nothing runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2433;--dim:#667085;--line:#e3e7ef;--card:#fff;--page:#f5f7fb;
--hue:#5b5bd6;--DONE:#1a7f4b;--FAILED:#c4314b;--CANCELLED:#8a6d1d;--RUNNING:#2563c9;--QUEUED:#667085;
--NOT_STARTED:#667085}
@media (prefers-color-scheme:dark){:root{--ink:#e7eaf2;--dim:#98a2b3;--line:#2b3242;--card:#1a1f2b;
--page:#12161f;--hue:#9a9aff;--DONE:#4cc38a;--FAILED:#ff7a90;--CANCELLED:#e0b94f;--RUNNING:#7ab0ff;
--QUEUED:#98a2b3;--NOT_STARTED:#98a2b3}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}main{max-width:960px;margin:0 auto;padding:28px 20px 60px}
a{color:var(--hue)}h1{font-size:22px;margin:4px 0 2px;overflow-wrap:anywhere}
h2{font-size:13px;letter-spacing:.06em;text-transform:uppercase;color:var(--dim);margin:0 0 10px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;
margin-top:16px;overflow-x:auto}.dim{color:var(--dim)}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--dim);font-weight:500}tr:last-child td{border-bottom:0}td.n{font-variant-numeric:tabular-nums}
.badge{display:inline-block;border:1px solid currentColor;border-radius:99px;padding:1px 11px;
font-size:13px;font-weight:600}.bar{height:8px;background:var(--line);border-radius:9px;margin-top:14px}
.bar i{display:block;height:100%;border-radius:9px;background:var(--hue)}
pre{margin:0;font-size:12.5px;white-space:pre-wrap;overflow-wrap:anywhere}svg{width:100%;height:auto}
"""


def routes() -> list[web.RouteDef]:
    """Return the routes of the pages.

    :returns: the routes.
    """
    return [
        web.get("/", _home),
        web.get("/jobs", _list_page),
        web.get("/jobs/{id}", _job_page),
    ]


async def _home(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/jobs")


async def _list_page(request: web.Request) -> web.Response:
    store = request.app[STORE]
    jobs = [job for job in store.jobs.values() if not job.vanished]
    jobs.sort(key=lambda job: (job.created_at, job.number), reverse=True)
    return _page(title="Jobs", body=jobs_page(store, jobs), refresh=5)


async def _job_page(request: web.Request) -> web.Response:
    store = request.app[STORE]
    record = store.job(request.match_info["id"])
    if record is None:
        body = "<h1>No such job</h1><p><a href='/jobs'>All jobs</a></p>"
        return _page(title="No such job", body=body, status=404)
    live = store.view(record).status not in lifecycle.TERMINAL
    return _page(title=record.id, body=job_page(store, record), refresh=2 if live else None)


def _page(*, title: str, body: str, refresh: int | None = None, status: int = 200) -> web.Response:
    reload = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{reload}<title>{_text(title)} - local Kumo</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )
    return web.Response(
        body=html.encode("utf-8", "replace"),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _time(at: float | None) -> str:
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC" if at is not None else "-"


def _badge(status: str) -> str:
    return f'<span class="badge" style="color:var(--{_text(status)})">{_text(status)}</span>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Build a table; the cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f'<td class="n">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def jobs_page(store: Store, jobs: list[JobRecord]) -> str:
    """Build the list of jobs.

    :param store: the state.
    :param jobs: the jobs, newest first.
    :returns: HTML for the body of the page.
    """
    rows = [
        [
            f'<a href="/jobs/{_text(job.id)}">{_text(job.id)}</a>',
            _text(job.kind.value.replace("_", " ")),
            _text(job.pquery_name),
            _badge(store.view(job).status),
            _time(job.created_at),
        ]
        for job in jobs[:LISTED]
    ]
    more = f"<p class='dim'>The newest {LISTED} of {len(jobs)} jobs.</p>" if len(jobs) > LISTED else ""
    table = _table(["Job", "Kind", "Predictive query", "Status", "Created"], rows)
    return f"<p class='dim'>local Kumo</p><h1>Jobs</h1><section>{table}</section>{more}"


def job_page(store: Store, record: JobRecord) -> str:
    """Build the page of a job.

    :param store: the state.
    :param record: the job.
    :returns: HTML for the body of the page.
    """
    seen, now = store.view(record), store.clock()
    progress = lifecycle.progress(record, now)
    parts = [
        f"<p class='dim'><a href='/jobs'>Jobs</a> / {_text(record.kind.value.replace('_', ' '))} "
        f"of {_text(record.pquery_name)}</p><h1>{_text(record.id)}</h1>",
        _section("Status", _status(record, seen, lifecycle.overall_fraction(record, now))),
        _failure(seen),
        _section("Stages", _stages(seen)) if seen.events else "",
        _section("Experiments", _trials(record, progress)) if progress.trials else "",
        _result(record, seen),
        _section("Tags", _table(["Tag", "Value"], [[_text(k), _text(v)] for k, v in record.tags.items()])),
        _section("Configuration", f"<pre>{_text(json.dumps(_short(record.config), indent=2))}</pre>"),
    ]
    return "".join(parts)


def _status(record: JobRecord, seen: JobView, fraction: float) -> str:
    times = [
        ["Created", _time(record.created_at)],
        ["Started", _time(seen.start_time)],
        ["Ended", _time(seen.end_time)],
    ]
    if record.cancel_requested_at is not None:
        times.append(["Cancellation asked for", _time(record.cancel_requested_at)])
    bar = f'<div class="bar"><i style="width:{100 * fraction:.1f}%"></i></div>'
    return f"{_badge(seen.status)} <span class='dim'>{fraction:.0%}</span>{bar}{_table(['', ''], times)}"


def _failure(seen: JobView) -> str:
    if seen.failure is None:
        return ""
    return _section("Error", f"<b>{_text(seen.failure.title)}</b><p>{_text(seen.failure.message)}</p>")


def _stages(seen: JobView) -> str:
    rows = [[_text(event.stage), _text(event.detail or ""), _time(event.at)] for event in seen.events]
    return _table(["Stage", "Detail", "Updated"], rows)


def _trials(record: JobRecord, progress: ProgressView) -> str:
    first = scores_of(record.task)[0].name
    curves = []
    rows = []
    for number, trial in enumerate(progress.trials, 1):
        points = [epoch_scores(record, trial, epoch)[1][first] for epoch in range(1, len(trial.epochs) + 1)]
        curves.append(points)
        state = "finished" if trial.finished else "running"
        latest = f"{points[-1]:.4f}" if points else "-"
        rows.append([str(number), state, f"{len(points)} of {trial.planned_epochs}", latest])
    table = _table(["Experiment", "State", "Epochs", f"Validation {_text(first)}"], rows)
    return _curve(curves) + table


def _curve(curves: list[list[float]]) -> str:
    values = [value for curve in curves for value in curve]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    longest = max(len(curve) for curve in curves)
    lines = []
    for number, curve in enumerate(curves):
        points = " ".join(
            f"{40 + 700 * at / max(1, longest - 1):.1f},{150 - 130 * (value - low) / ((high - low) or 1):.1f}"
            for at, value in enumerate(curve)
        )
        faint = 1.0 if number == len(curves) - 1 else 0.45
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="var(--hue)" stroke-width="2" opacity="{faint}"/>'
        )
    labels = (
        f'<text x="0" y="24" font-size="11" fill="var(--dim)">{high:.3g}</text>'
        f'<text x="0" y="154" font-size="11" fill="var(--dim)">{low:.3g}</text>'
    )
    return f'<svg viewBox="0 0 760 165" role="img" aria-label="Learning curves">{labels}{"".join(lines)}</svg>'


def _result(record: JobRecord, seen: JobView) -> str:
    if seen.status != "DONE":
        return ""
    if record.kind is Kind.TRAINING:
        splits = final_scores(record)
        rows = [
            [_text(name), *(f"{splits[split][name]:.4f}" for split in ("test", "validation", "training"))]
            for name in splits["test"]
        ]
        return _section("Metrics", _table(["Metric", "Test", "Validation", "Training"], rows))
    if record.kind is Kind.PREDICTION:
        return _section("Result", f"{record.entities:,} entities predicted")
    return ""


def _short(value: Any) -> Any:
    """Leave out what was left to the server, so that what was asked for can be seen."""
    if not isinstance(value, dict):
        return value
    short = {key: _short(item) for key, item in value.items() if item not in ("???", None)}
    return {key: item for key, item in short.items() if item != {}}
