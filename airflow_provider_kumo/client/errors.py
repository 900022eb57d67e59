"""What can go wrong with Kumo, one class per cause, and the one place that reads it off an answer."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_TEXT = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")


class Patience(Enum):
    """Which budget of time, if any, an error may be waited out with."""

    NONE = "none"
    SERVICE = "service"
    REFUSED_KEY = "refused key"
    MISSING = "missing"


class KumoError(Exception):
    """Base of everything that this package raises about Kumo.

    :cvar retryable: whether running the whole task again can mend it.
    :cvar patience: with which budget the same request may be repeated.
    """

    retryable: ClassVar[bool] = True
    patience: ClassVar[Patience] = Patience.NONE


class KumoConfigurationError(KumoError, ValueError):
    """The connection cannot be used as it stands: no key, a host that is no URL, a redirecting host."""

    retryable = False


class KumoConnectionLostError(KumoError):
    """Airflow does not hand out the connection: it is not defined, or its store is away for a moment."""

    patience = Patience.SERVICE


class KumoArgumentError(KumoError, ValueError):
    """An argument cannot be used; the text names it, what it got and what it wants."""

    retryable = False


class KumoAnswerError(KumoError):
    """An answer of Kumo, or the lack of one.

    :param message: what happened, for a reader.
    :param status: the HTTP status, if there was an answer.
    :param retry_after: seconds that the server asks to wait, if it does.
    :param reached: whether the request may have been acted on (False: certainly not).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        reached: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.reached = reached


class KumoUnavailableError(KumoAnswerError):
    """Kumo cannot be reached, fails, or answers what cannot be read: weather that passes."""

    patience = Patience.SERVICE


class KumoQuotaError(KumoUnavailableError):
    """Kumo takes no more requests or jobs for now (HTTP 429)."""


class KumoAuthenticationError(KumoAnswerError):
    """Kumo does not know the key (HTTP 401): wrong, or replaced by a newer one."""

    retryable = False
    patience = Patience.REFUSED_KEY


class KumoForbiddenError(KumoAnswerError):
    """The key is known but not allowed to do this (HTTP 403)."""

    retryable = False


class KumoNotFoundError(KumoAnswerError):
    """There is no such query, job or snapshot (HTTP 404)."""

    retryable = False
    patience = Patience.MISSING


class KumoRequestRefusedError(KumoAnswerError):
    """Kumo understood the request and refuses it; the text is Kumo's own."""

    retryable = False


class KumoSubmissionUnknownError(KumoAnswerError):
    """A job was submitted, the answer was lost, and the job could not be found again."""


class KumoJobError(KumoError):
    """A job did not end well.

    :param message: cause, stage and link, for a reader.
    :param job_id: the job.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class KumoJobFailedError(KumoJobError):
    """The job ended as FAILED. Kumo's errors are in the message."""


class KumoJobCancelledError(KumoJobError):
    """The job ended as CANCELLED: a person, or another system, stopped it in Kumo."""

    retryable = False


class KumoJobTimeoutError(KumoJobError):
    """The job did not end within the task's ``timeout``."""


class KumoJobAbandonedError(KumoJobError):
    """The task was killed, or has gone on without the job: it was cancelled on the task's behalf."""


class KumoJobVanishedError(KumoJobError):
    """The job was there and is no more."""


def revive(class_name: str, message: str, *, job_id: str) -> KumoError:
    """Rebuild an error that travelled as its class name and message, from a trigger to a task.

    :param class_name: name of a class of this module; of an unknown one, the message is kept.
    :param job_id: the job that it is about.
    """
    classes = {found.__name__: found for found in _all_subclasses(KumoError)}
    found = classes.get(class_name, KumoError)
    return found(message, job_id=job_id) if issubclass(found, KumoJobError) else found(message)


def _all_subclasses(base: type[KumoError]) -> list[type[KumoError]]:
    direct = base.__subclasses__()
    return [*direct, *(deeper for child in direct for deeper in _all_subclasses(child))]


def error_from_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, what: str, host: str, hint: str = ""
) -> KumoAnswerError | KumoConfigurationError:
    """Turn an answer that is not a 2xx into the error of its cause.

    :param status: HTTP status.
    :param headers: response headers, looked up case-insensitively by the caller's mapping.
    :param body: the body, or its beginning.
    :param what: what was asked, such as ``"read training job trainingjob-1"``.
    :param host: scheme and host that answered.
    :param hint: what to add for a reader.
    """
    said = answer_text(body)
    end = "" if said.endswith((".", "!", "?")) else "."
    text = f"Could not {what}: Kumo at {host} answered HTTP {status}" + (f": {said}" if said else "") + end + hint
    if 300 <= status < 400:
        return KumoConfigurationError(
            f"{text} It redirects elsewhere, and the key is sent to the configured host only. "
            "Name the final host in the connection."
        )
    error_class = _class_of(status)
    return error_class(
        text + _ADVICE.get(error_class, ""),
        status=status,
        retry_after=parse_retry_after(headers.get("Retry-After"), now=datetime.now(UTC)),
        # A 4xx (408, 425 and 429 too) says that the request was not taken up; a 5xx leaves that open.
        reached=status >= 500,
    )


def _class_of(status: int) -> type[KumoAnswerError]:
    if status == 429:
        return KumoQuotaError
    if status >= 500 or status in (408, 425):
        return KumoUnavailableError
    return {
        401: KumoAuthenticationError,
        403: KumoForbiddenError,
        404: KumoNotFoundError,
    }.get(status, KumoRequestRefusedError)


_ADVICE: dict[type[KumoAnswerError], str] = {
    KumoAuthenticationError: (
        " Put the current API key into the password of the Airflow connection:"
        " making a new key in Kumo invalidates all earlier ones."
    ),
    KumoForbiddenError: " Check the connection's group_id and project_id and what the key is allowed to do.",
}


def answer_text(body: bytes) -> str:
    """Return what an error body says: FastAPI's ``detail`` as a sentence, or the text itself, cut and cleaned.

    :param body: the raw body, of any content.
    """
    text = body[: 4 * _LONGEST_TEXT].decode("utf-8", errors="replace").strip()
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return _plain(text) if not text.startswith("<") else "an HTML page, not Kumo's API"
    detail = parsed.get("detail", parsed) if isinstance(parsed, dict) else parsed
    return _plain(_detail_sentence(detail))


def _detail_sentence(detail: Any) -> str:
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list) and detail and all(isinstance(item, dict) and "msg" in item for item in detail):
        return "; ".join(_field_error(item) for item in detail)
    try:
        return json.dumps(detail)
    except RecursionError:
        return "an absurdly nested body"


def _field_error(item: Mapping[str, Any]) -> str:
    loc = item.get("loc")
    where = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    return f"{where}: {item['msg']}" if where else str(item["msg"])


def _plain(text: str) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, or None if it says nothing usable.

    :param value: the header: a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
    :param now: the time to count a date from, timezone-aware.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
