"""Tells people how a task's Kumo job has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseNotifier, context_merge

from airflow_provider_kumo.notifications.summary import kumo_job_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context


class KumoJobNotifier(BaseNotifier):
    """Hands a message about a task's Kumo job to a function, or writes it to the log.

    For ``on_failure_callback``, ``on_success_callback``, ``on_retry_callback`` and ``on_skipped_callback`` of a task::

        KumoRetrainOperator(..., on_failure_callback=KumoJobNotifier(send=post_to_our_chat))

    For a notifier that has a template of its own, such as Slack's, see
    :func:`~airflow_provider_kumo.notifications.summary.kumo_job_summary`.

    :param send: called with the message; None writes it to the log of the callback.
    :param message: a template in which ``kumo_job`` is the
        :class:`~airflow_provider_kumo.notifications.summary.KumoJobSummary`, beside all that Airflow offers.
    """

    def __init__(self, *, send: Callable[[str], Any] | None = None, message: str = "{{ kumo_job }}") -> None:
        super().__init__()
        self.send = send
        self.message = message

    def notify(self, context: Context) -> None:
        """Render the message and hand it over."""
        # Rendered here and not as a template field: Airflow writes those back, so that a notifier which several tasks
        # share, in default_args, would repeat the first one's message.
        # Added in place, as Airflow itself does: a copy of Airflow 2's context warns of each old name in it.
        context_merge(context, kumo_job=kumo_job_summary(context))
        text = self.render_template(self.message, context)
        if self.send is None:
            self.log.info("%s", text)
        else:
            self.send(text)
