from __future__ import annotations

from logging import getLogger

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.errors import KumoNotFoundError
from airflow_provider_kumo.client.newest import newest_training_job
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.emulator.local import LocalKumo

ORDERS = ["newest", "oldest", "unordered"]


class Tenant:
    """A local Kumo with a long past, shared by the tests because that takes a while to make."""

    def __init__(self, kumo: LocalKumo, log) -> None:
        self.kumo = kumo
        self.many_id = kumo.add_query("with_5000_models")
        self.newest_of_many = kumo.add_past_jobs("with_5000_models", 5000)[-1]
        self.few_id = kumo.add_query("with_3_models")
        self.newest_of_few = kumo.add_past_jobs("with_3_models", 3, days=200)[-1]
        kumo.add_query("without_models")
        config = KumoConfig(base_url=kumo.url, secret=kumo.api_key)
        self.client = KumoClient(lambda: config, log=log)

    def newest(self, query: str) -> str | None:
        job = newest_training_job(self.client.send, query)
        return None if job is None else job.id


@pytest.fixture(scope="module")
def long_past():
    with LocalKumo() as kumo:
        tenant = Tenant(kumo, getLogger(__name__))
        yield tenant
        tenant.client.close()


@pytest.fixture
def tenant(long_past):
    long_past.kumo.set_list()
    long_past.kumo.clear_requests()
    return long_past


@pytest.mark.parametrize(
    ("order", "by"), [("newest", "id"), ("newest", "name"), ("oldest", "id"), ("unordered", "name")]
)
def test_the_newest_of_5000_models_is_found_whatever_the_order(tenant, order, by):
    tenant.kumo.set_list(order=order)
    assert tenant.newest(tenant.many_id if by == "id" else "with_5000_models") == tenant.newest_of_many


@pytest.mark.parametrize("order", ORDERS)
def test_the_newest_of_a_few_is_found_whatever_the_order(tenant, order):
    tenant.kumo.set_list(order=order)
    assert tenant.newest(tenant.few_id) == tenant.newest_of_few


def test_one_small_page_is_enough_when_the_newest_comes_first(tenant):
    tenant.newest(tenant.many_id)
    (seen,) = tenant.kumo.requests
    assert seen.query == {"pquery_id": tenant.many_id, "job_status": "DONE", "limit": "20"}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("query", ["without_models", "no_such_query"])
def test_a_query_without_models_has_no_newest(tenant, order, query):
    tenant.kumo.set_list(order=order)
    assert tenant.newest(query) is None


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cap", [10, 20, 100, 1000])
@pytest.mark.parametrize("many", [True, False])
def test_a_server_that_cuts_its_lists_never_makes_an_old_model_pass_for_the_newest(tenant, order, cap, many):
    tenant.kumo.set_list(order=order, cap=cap)
    query, newest = (tenant.many_id, tenant.newest_of_many) if many else (tenant.few_id, tenant.newest_of_few)
    try:
        found = tenant.newest(query)
    except KumoNotFoundError as error:
        assert order != "newest"
        assert "Name it with training_job_id" in str(error)  # noqa: PT017 - the answer may be right as well
    else:
        assert found == newest


def test_a_tenant_whose_only_jobs_are_of_one_query_is_not_an_exception():
    """A cap then cuts the list of the query and the list of everything alike."""
    with LocalKumo() as kumo:
        query = kumo.add_query("the_oldest")
        newest = kumo.add_past_jobs("the_oldest", 400, days=300)[-1]
        kumo.set_list(order="oldest", cap=50)
        config = KumoConfig(base_url=kumo.url, secret=kumo.api_key)
        with KumoClient(lambda: config, log=getLogger(__name__)) as client:
            try:
                found = newest_training_job(client.send, query).id
            except KumoNotFoundError:
                found = newest
    assert found == newest


def test_a_model_that_is_not_done_is_no_model(tenant):
    tenant.kumo.hold(kind="training", count=1)
    job_id = tenant.client.send(calls.create_training_job(training_request(pquery_id=tenant.few_id)))
    assert tenant.newest(tenant.few_id) == tenant.newest_of_few
    tenant.kumo.fail(job_id)
    assert tenant.newest(tenant.few_id) == tenant.newest_of_few


def test_a_model_of_today_is_the_newest(tenant):
    tenant.kumo.add_query("retrained")
    tenant.kumo.add_past_jobs("retrained", 30)
    tenant.kumo.hold(kind="training", count=1)
    job_id = tenant.client.send(calls.create_training_job(training_request(pquery_id="retrained")))
    tenant.kumo.finish(job_id)
    for order in ORDERS:
        tenant.kumo.set_list(order=order)
        assert tenant.newest("retrained") == job_id
