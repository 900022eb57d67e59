from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client.errors import (
    KumoError,
    answer_text,
    parse_retry_after,
    revive,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body", "job_tags"], "msg": "Field required"}]}', "job_tags: Field required"),
        (b'{"detail": [{"loc": ["body", "a", 0], "msg": "x"}, {"msg": "y"}]}', "a.0: x; y"),
        (b'{"detail": {"code": 7}}', '{"code": 7}'),
        (b'{"message": "x"}', '{"message": "x"}'),
        (b'"plain"', "plain"),
        (b"Bad gateway\r\n", "Bad gateway"),
        (b"<html><body>503</body></html>", "an HTML page, not Kumo's API"),
        (b"  \n<!DOCTYPE html>", "an HTML page, not Kumo's API"),
        (b"a\x1b[31mred\x00\x07b", "a [31mred b"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_an_error_body_reads_as_a_sentence(body, text):
    assert answer_text(body) == text


def test_an_error_body_of_any_size_gives_a_short_text():
    assert len(answer_text(b"x" * 1_000_000)) < 2100
    assert len(answer_text(b'{"detail": "' + b"x" * 60_000 + b'"}')) < 2100


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda tail: b'{"detail": ' + tail))
def test_no_bytes_break_the_reading_of_an_error(body):
    text = answer_text(body)
    assert "\x00" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "body", [b"[" * 50_000, b'{"detail": ' * 20_000, b'{"detail": ' + b"[" * 900 + b"]" * 900 + b"}", b"1" * 60_000]
)
def test_an_absurd_error_body_is_read_too(body):
    assert isinstance(answer_text(body), str)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Fri, 20 Nov 2026 12:01:00 GMT", 60),
        ("Fri, 20 Nov 2026 13:01:00 +0100", 60),
        ("Fri, 20 Nov 2026 12:01:00", 60),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("Friday, 20-Nov-26 12:01:00 GMT", 60),
        *(
            (odd, None)
            for odd in (None, "", "soon", "-5", "1.5", "1e3", "9999999999", "inf", "Fri, 99 Nov 2026 12:01:00")
        ),
    ],
)
def test_retry_after_is_read_in_both_forms_and_never_negative(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=40) | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")))
def test_no_retry_after_breaks_anything(value):
    seconds = parse_retry_after(value, now=NOW)
    assert seconds is None or 0 <= seconds <= timedelta.max.total_seconds()


def every(base):
    return [base, *(deeper for child in base.__subclasses__() for deeper in every(child))]


@pytest.mark.parametrize("error_class", every(KumoError))
def test_an_error_survives_the_way_from_trigger_to_task(error_class):
    back = revive(error_class.__name__, "It is so.", job_id="trainingjob-1")
    assert type(back) is error_class
    assert str(back) == "It is so."
    assert getattr(back, "job_id", "trainingjob-1") == "trainingjob-1"


def test_an_error_of_a_later_version_keeps_its_message():
    back = revive("KumoNeverHeardOfError", "It is so.", job_id="x")
    assert (type(back), str(back), back.retryable) == (KumoError, "It is so.", True)


def test_what_no_retry_can_mend_is_marked():
    marked = {found.__name__ for found in every(KumoError) if not found.retryable}
    assert marked == {
        "KumoArgumentError",
        "KumoConfigurationError",
        "KumoAuthenticationError",
        "KumoForbiddenError",
        "KumoNotFoundError",
        "KumoRequestRefusedError",
        "KumoJobCancelledError",
    }
