from __future__ import annotations

import json

import pytest

from airflow_provider_kumo.emulator import persistence, seeds
from airflow_provider_kumo.emulator.store import Settings, Store


def reborn(path, clock) -> Store:
    store = Store(Settings(speed=1.0), clock=clock)
    assert persistence.load(store, path)
    return store


async def test_everything_survives_a_restart(api, store, control, clock, tmp_path) -> None:
    path = tmp_path / "state.json"
    jobs = [await api.train(job_tags={"n": str(n)}) for n in range(12)]
    await api("PATCH", f"training_jobs/{jobs[0]}/tags", extra="1")
    control.add_query("mine")
    control.add_past_jobs("mine", 50)
    control.rotate_key()
    clock.tick(5)
    control.advance(jobs[1], 600)
    control.hold(jobs[2])
    control.fail(jobs[3])
    control.cancel(jobs[4])
    persistence.save(persistence.dump(store), path)
    clock.tick(60)
    again = reborn(path, clock)
    assert again.key == store.key
    assert again.queries == store.queries
    assert again.graphs == store.graphs
    for job in store.jobs.values():
        assert again.view(again.jobs[job.id]) == store.view(job), job
    assert again.jobs[jobs[0]].tags["extra"] == "1"
    # New ids do not collide with old ones.
    assert again.new_id("trainingjob") == store.new_id("trainingjob")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_no_file_is_a_fresh_start(store, tmp_path) -> None:
    assert persistence.load(store, tmp_path / "none.json") is False


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "Expecting"), ("[]", "not a JSON object"), ("{}", "no 'version'"), ('{"version": 99}', "version is 99"),
     ("[" * 100_000, "recursion"), ("é", "cannot read")],
)  # fmt: skip
def test_a_file_that_is_no_state_says_which_and_why(store, tmp_path, text, why) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(persistence.BadState) as caught:
        persistence.load(store, path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


def test_a_state_with_a_piece_missing_is_refused(store, tmp_path) -> None:
    path = tmp_path / "state.json"
    state = json.loads(json.dumps(persistence.dump(store)))
    del state["jobs"][0]["created_at"]
    persistence.save(state, path)
    fresh = Store(Settings())
    with pytest.raises(persistence.BadState, match="created_at"):
        persistence.load(fresh, path)
    assert not fresh.jobs


def test_a_directory_that_does_not_exist_is_said_at_once(store, tmp_path) -> None:
    with pytest.raises(persistence.BadState, match="no such directory"):
        persistence.load(store, tmp_path / "none" / "state.json")


def test_a_write_that_fails_leaves_the_old_state(store, tmp_path) -> None:
    path = tmp_path / "state.json"
    persistence.save(persistence.dump(store), path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        persistence.save({"bad": object()}, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


async def test_the_keeper_writes_what_changed_last(store, clock, tmp_path) -> None:
    path = tmp_path / "state.json"
    keeper = persistence.Keeper(store, path)
    keeper.start()
    query = seeds.make_query(name="late", query_string="PREDICT 1 FOR EACH u.id", graph=seeds.shop_graph("my_s3"))
    store.save_query(query)
    await keeper.stop()
    assert reborn(path, clock).query("late") == query
