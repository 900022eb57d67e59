"""From raw bytes to a result or an error: what both transports do with an answer, without touching a socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_kumo.client.errors import KumoUnavailableError, answer_text, error_from_answer
from airflow_provider_kumo.client.jobs import Job, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.client.calls import Call
    from airflow_provider_kumo.client.config import KumoConfig

T = TypeVar("T")

_WRONG_PATH = (
    " Is Kumo's API really at {}? It may have a path, as Kumo's own cloud has /api; put it into the connection's host."
)
ERROR_BODY_LIMIT = 64 * 1024


def body_limit(call: Call[T], status: int) -> int:
    """Return how many bytes of an answer to read: little of an error, of a result as much as the call expects."""
    return call.body_limit if 200 <= status < 300 else ERROR_BODY_LIMIT


def read_answer(call: Call[T], config: KumoConfig, status: int, headers: Mapping[str, str], body: bytes) -> T:
    """Turn an answer into the call's result.

    :param body: the body; when it was longer than :func:`body_limit`, one byte more than that.
    :raises KumoError: the answer is an error, or cannot be read.
    """
    limit = body_limit(call, status)
    # Before anything is cut or parsed: a server may echo the key, and half of a key is no better than the whole.
    body = config.without_secret(body)
    if not 200 <= status < 300:
        hint = _WRONG_PATH.format(config.base_url) if status == 404 and call.is_collection else ""
        raise error_from_answer(status, headers, body[:limit], what=call.what, host=config.origin, hint=hint)
    if len(body) > limit:
        raise unreadable(call, config, f"an answer of more than {limit} bytes", status=status)
    try:
        result = call.parse(json.loads(body))
    except UnreadableError as error:
        raise unreadable(call, config, f"something else than the API describes ({error})", status=status) from None
    except (ValueError, RecursionError):
        said = answer_text(body[:200])
        raise unreadable(call, config, f"no readable JSON: {said or 'nothing'}", status=status) from None
    return _with_links(result, config)


def unreadable(call: Call[T], config: KumoConfig, got: str, *, status: int | None = None) -> KumoUnavailableError:
    """Return the error for an answer that was cut, is no JSON, or is not what the API describes."""
    return KumoUnavailableError(f"Could not {call.what}: Kumo at {config.origin} sent {got}.", status=status)


def unreachable(call: Call[T], config: KumoConfig, cause: BaseException, *, reached: bool) -> KumoUnavailableError:
    """Return the error for a connection that was not made or broke.

    :param reached: whether the request may have arrived.
    """
    said = config.without_secret(str(cause).encode()).decode()
    text = said[:300] or type(cause).__name__
    if "WRONG_VERSION_NUMBER" in text:
        text = f"it answers, but does not speak TLS; its URL may begin with http:// ({text})"
    return KumoUnavailableError(
        f"Could not {call.what}: Kumo at {config.origin} cannot be reached: {text}", reached=reached
    )


def _with_links(result: T, config: KumoConfig) -> T:
    if isinstance(result, Job):
        return result.with_origin(config.base_url)
    if isinstance(result, list):
        return [_with_links(item, config) for item in result]  # type: ignore[return-value]
    return result
