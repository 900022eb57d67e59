"""The watcher of new models, as the triggerer runs it, against a local Kumo."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.hooks.kumo import KumoHook
from airflow_provider_kumo.triggers.kumo_events import KumoModelTrainedTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_provider_kumo.emulator.local import LocalKumo

SHARES_POLLS = hasattr(KumoModelTrainedTrigger.__mro__[1], "filter_shared_stream")
only_from_3_3 = pytest.mark.skipif(not SHARES_POLLS, reason="Airflow shares polls and keeps state from 3.3 on")


class AssetState:
    """As much of Airflow's store of an asset's state as a trigger uses; values pass through JSON as there."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


def watcher(**arguments: Any) -> KumoModelTrainedTrigger:
    """Return a trigger as the triggerer makes it, from its serialized form."""
    made = KumoModelTrainedTrigger(**{"pquery_id": "churn_30d", "poll_interval": 0.1, **arguments})
    path, kwargs = made.serialize()
    assert path == f"{KumoModelTrainedTrigger.__module__}.{KumoModelTrainedTrigger.__name__}"
    return KumoModelTrainedTrigger(**json.loads(json.dumps(kwargs)))


class Fired(list[dict[str, Any]]):
    """The payloads of a trigger's events so far."""

    def __init__(self, kumo: LocalKumo) -> None:
        self._kumo = kumo

    @property
    def models(self) -> list[str]:
        return [payload["training_job_id"] for payload in self]

    async def wait_for(self, *models: str) -> None:
        await until(self._kumo, lambda: self.models == list(models))

    async def polls(self, count: int = 2) -> None:
        """Wait until Kumo has been asked for lists so many times more."""
        seen = len(listings(self._kumo))
        await until(self._kumo, lambda: len(listings(self._kumo)) >= seen + count)


async def until(kumo: LocalKumo, predicate: Callable[[], bool]) -> None:
    """Wait until something is true, looking whenever Kumo has been asked."""
    await asyncio.to_thread(kumo.wait_for, predicate, 60)


def listings(kumo: LocalKumo) -> list[Any]:
    return [r for r in kumo.requests if r.method == "GET" and r.path.endswith("/training_jobs")]


@asynccontextmanager
async def watching(kumo: LocalKumo, events: AsyncIterator[Any]) -> AsyncIterator[Fired]:
    """Run a trigger's events aside."""
    fired = Fired(kumo)

    async def collect() -> None:
        async for event in events:
            fired.append(json.loads(json.dumps(event.payload)))

    task = asyncio.create_task(collect())
    try:
        await fired.polls()
        yield fired
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def train(kumo: LocalKumo, query: str = "churn_30d", **tags: str) -> str:
    """Train a query as a person does in Kumo, to its end; return the job."""
    call = calls.create_training_job({**training_request(pquery_id=query), "job_tags": tags})
    job_id = await asyncio.to_thread(KumoHook().send, call)
    await asyncio.to_thread(kumo.finish, job_id)
    return job_id


async def test_each_new_model_fires_once_and_old_ones_never(kumo_emulator: LocalKumo) -> None:
    async with watching(kumo_emulator, watcher().run()) as fired:
        first = await train(kumo_emulator)
        await fired.wait_for(first)
        second = await train(kumo_emulator)
        await fired.wait_for(first, second)
        await fired.polls()
        assert fired.models == [first, second]
    assert fired[0]["kind"] == "training"
    assert fired[0]["test_auroc"] > 0.5
    assert fired[0]["tracking_url"] == f"{kumo_emulator.origin}/jobs/{first}"


async def test_other_queries_and_bad_ends_fire_nothing(kumo_emulator: LocalKumo) -> None:
    async with watching(kumo_emulator, watcher().run()) as fired:
        await train(kumo_emulator, "ltv_90d")
        kumo_emulator.fail_next("training", title="Schema changed", message="Column AGE is gone")
        await train(kumo_emulator, "ltv_90d")
        await fired.polls()
        assert fired == []


async def test_jobs_of_airflow_are_left_out_if_that_is_wanted(kumo_emulator: LocalKumo) -> None:
    async with watching(kumo_emulator, watcher(skip_airflow_jobs=True).run()) as fired:
        await train(kumo_emulator, airflow_task_key="x")
        by_hand = await train(kumo_emulator)
        await fired.wait_for(by_hand)


async def test_a_start_without_kept_state_tells_nothing_twice(kumo_emulator: LocalKumo) -> None:
    async with watching(kumo_emulator, watcher().run()) as fired:
        await fired.wait_for(await train(kumo_emulator))
    async with watching(kumo_emulator, watcher().run()) as fired:
        assert fired == []


@only_from_3_3
async def test_a_restart_with_kept_state_tells_what_ended_meanwhile_and_nothing_twice(
    kumo_emulator: LocalKumo,
) -> None:
    state = AssetState()
    trigger = watcher()
    trigger.asset_state_store = state
    async with watching(kumo_emulator, trigger.run()) as fired:
        await fired.wait_for(await train(kumo_emulator))
        await fired.polls()
    meanwhile = await train(kumo_emulator)
    trigger = watcher()
    trigger.asset_state_store = state
    async with watching(kumo_emulator, trigger.run()) as fired:
        await fired.wait_for(meanwhile)
        await fired.polls()
        assert fired.models == [meanwhile]


async def test_an_outage_and_a_rotated_key_are_waited_out(
    kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(kumo_emulator, watcher().run()) as fired:
        kumo_emulator.inject("status", path="/training_jobs$", method="GET", status=503, count=2)
        job_id = await train(kumo_emulator)
        await fired.wait_for(job_id)
        kumo_emulator.rotate_key()
        monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", kumo_emulator.connection_json)
        await fired.wait_for(job_id, await train(kumo_emulator))


async def test_a_connection_that_is_made_later_is_waited_for(
    kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trigger = watcher(kumo_conn_id="kumo_of_tomorrow")
    fired: list[str] = []

    async def collect() -> None:
        async for event in trigger.run():
            fired.append(event.payload["training_job_id"])

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(60):
            while "kumo_of_tomorrow" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        monkeypatch.setenv("AIRFLOW_CONN_KUMO_OF_TOMORROW", kumo_emulator.connection_json)
        job_id = await train(kumo_emulator)
        await until(kumo_emulator, lambda: fired == [job_id])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_kumo_refuses_for_good_does_not_end_the_watch(
    kumo_emulator: LocalKumo, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(kumo_emulator, watcher().run()) as fired:
        kumo_emulator.inject("status", path="/training_jobs$", method="GET", status=403, count=3)
        job_id = await train(kumo_emulator)
        await fired.wait_for(job_id)
    [told] = [record for record in caplog.records if "The watch for new models goes on." in record.getMessage()]
    assert "403" in told.getMessage()
    assert kumo_emulator.api_key not in caplog.text


async def test_a_poll_is_one_request_whatever_the_order_of_the_list(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.set_list(order="unordered")
    async with watching(kumo_emulator, watcher().run()) as fired:
        await fired.wait_for(await train(kumo_emulator))
        kumo_emulator.clear_requests()
        await fired.polls(3)
        assert {request.path for request in kumo_emulator.requests} == {"/api/v1/training_jobs"}


@only_from_3_3
async def test_many_watchers_share_one_poll(kumo_emulator: LocalKumo) -> None:
    from airflow.triggers.shared_stream import SharedStreamManager

    queries = {f"query_{number}": kumo_emulator.add_query(f"query_{number}") for number in range(20)}
    manager = SharedStreamManager()
    fired: dict[str, list[str]] = {query: [] for query in queries}

    async def collect(number: int, query: str) -> None:
        trigger = watcher(pquery_id=query, poll_interval=0.3)
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=trigger.shared_stream_key())
        async for event in trigger.filter_shared_stream(stream):
            fired[query].append(event.payload["training_job_id"])

    tasks = [asyncio.create_task(collect(number, query)) for number, query in enumerate(queries)]
    try:
        await Fired(kumo_emulator).polls(1)
        trained = {query: await train(kumo_emulator, query) for query in list(queries)[:3]}
        await until(kumo_emulator, lambda: {query: [job] for query, job in trained.items()} == _fired(fired))
        kumo_emulator.clear_requests()
        await Fired(kumo_emulator).polls(5)
        times = [request.time for request in kumo_emulator.requests]
        assert all(later - earlier > 0.2 for earlier, later in pairwise(times)), "20 watchers, one poll every 0.3 s"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop_all()
    assert _fired(fired) == {query: [job] for query, job in trained.items()}


def _fired(models: dict[str, list[str]]) -> dict[str, list[str]]:
    return {query: jobs for query, jobs in models.items() if jobs}


def test_watchers_share_by_connection_and_spacing_only() -> None:
    key = watcher().shared_stream_key()
    assert watcher(pquery_id="ltv_90d", skip_airflow_jobs=True).shared_stream_key() == key
    assert watcher(kumo_conn_id="other").shared_stream_key() != key
    assert watcher(poll_interval=30).shared_stream_key() != key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pquery_id": ""}, "pquery_id: got ''"),
        ({"poll_interval": 0}, "poll_interval: got 0"),
        ({"skip_airflow_jobs": "no"}, "skip_airflow_jobs: got 'no'"),
    ],
)
def test_wrong_arguments_are_refused_while_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(KumoArgumentError, match=said):
        watcher(**arguments)
