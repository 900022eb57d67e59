"""Retrain a predictive query, predict with its model, cancel a job."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    get_current_context,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_kumo.arguments import PARTITION, check_settled, default_deferrable, is_settled
from airflow_provider_kumo.assets import describe_outlets
from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.endings import closing_lines, error_of, timeout_of
from airflow_provider_kumo.client.errors import (
    KumoArgumentError,
    KumoError,
    KumoJobAbandonedError,
    KumoJobCancelledError,
    KumoJobError,
    KumoNotFoundError,
    revive,
)
from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus
from airflow_provider_kumo.client.newest import newest_training_job
from airflow_provider_kumo.client.requests import (
    check_choice,
    check_count,
    check_flag,
    check_id,
    check_model_plan,
    check_outputs,
    check_poll_interval,
    check_prediction_time,
    check_share,
    check_switch,
    check_tags,
    prediction_request,
    required_seconds,
    training_request,
)
from airflow_provider_kumo.client.watch import Watch
from airflow_provider_kumo.failures import told_to_airflow
from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY, KumoJobLink
from airflow_provider_kumo.resumption import own_event, try_of
from airflow_provider_kumo.submission import Attempt, Submission, Submitter, TaskKey, cancel_and_confirm, mark_delivered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import jinja2
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_kumo.client.sync import KumoClient
    from airflow_provider_kumo.hooks.kumo import KumoHook

# Kumo trains for one to ten hours as a rule, and about four times as long in its "best" mode.
_DEFAULT_TIMEOUT = timedelta(hours=48)
# The trigger ends by itself at the deadline; Airflow's own timeout, which cannot cancel a job, only backs it up.
_BACKSTOP_SLACK = timedelta(minutes=10)
# A trigger that fires before the executor has seen the worker's process end, which takes up to five seconds by default,
# has Airflow fail the task without calling anything of ours: the job would go on.
_TOO_SHORT_TO_DEFER = 15.0
# What Airflow resumes a task with, in place of a method, when there is no event.
_NO_EVENT = "__fail__"


class _KumoOperator(BaseOperator):
    """What everything that speaks to Kumo from a task has in common."""

    ui_color = "#fde8ef"
    operator_extra_links = (KumoJobLink(),)

    def __init__(self, *, kumo_conn_id: str = "kumo_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kumo_conn_id = kumo_conn_id
        check_settled(check_id, "kumo_conn_id", kumo_conn_id)

    def _hook(self) -> KumoHook:
        # Imported here, so that parsing a DAG does not pay for it.
        from airflow_provider_kumo.hooks.kumo import KumoHook

        return KumoHook(self.kumo_conn_id)


class _KumoJobOperator(_KumoOperator):
    """Starts one job and brings its result, by the same steps in every mode.

    Find the job that an earlier try has started, or start it; push the XComs ``job_id`` and ``tracking_url``; look
    at it once; then finish, or wait in the triggerer or here, and finish.
    """

    kind: ClassVar[JobKind]

    def __init__(
        self,
        *,
        job_tags: Mapping[str, str] | None = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        timeout: float | timedelta = _DEFAULT_TIMEOUT,
        cancel_on_kill: bool = True,
        durable: bool = True,
        if_cancelled: Literal["fail", "skip"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_tags = job_tags
        self.wait_for_completion = check_switch("wait_for_completion", wait_for_completion)
        self.deferrable = default_deferrable() if deferrable is None else check_switch("deferrable", deferrable)
        self.poll_interval = check_poll_interval(poll_interval)
        self.timeout = required_seconds("timeout", timeout)
        self.cancel_on_kill = check_switch("cancel_on_kill", cancel_on_kill)
        self.durable = check_switch("durable", durable)
        self.if_cancelled = check_choice("if_cancelled", if_cancelled, ("fail", "skip"))
        self._submitter: Submitter | None = None
        # What the task knows of its job, for OpenLineage, which asks after the task has ended.
        self._seen: tuple[KumoClient, Job] | None = None
        check_settled(check_tags, job_tags)

    def _check(self) -> None:
        """Check the rendered arguments before anything is sent.

        :raises KumoArgumentError: one cannot be used.
        """
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        """Return the rendered arguments that make the request what it is."""
        raise NotImplementedError

    def _create(self, client: KumoClient, tags: Mapping[str, str]) -> calls.Call[str]:
        """Return the call that starts the job, after looking up what it needs."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Start the job, or go on with the one that an earlier try has started, and wait for it.

        :returns: the job's result; with ``wait_for_completion=False``, the job as it stands.
        :raises KumoJobFailedError: the job failed.
        :raises KumoJobTimeoutError: it did not end in time.
        :raises AirflowFailException: no retry can mend it.
        """
        with told_to_airflow():
            self._check()
        with self._no_job_left_behind(context):
            return self._run(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger's event; everything is taken from the event, nothing from this instance."""
        if event["outcome"] == "gave_up":
            with self._no_job_left_behind(context, self._job(event["job_id"], event.get("tracking_url"))):
                # Not told as final, whatever the cause: the job may live, and a further try goes on with it.
                raise revive(event["error_class"], event["error"], job_id=event["job_id"])
        job = Job.from_event(event["job"])
        with self._no_job_left_behind(context, job):
            return self._finish(self._client(), job, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger, also if it has brought no event: it broke, or Airflow's own timeout came first."""
        from airflow_provider_kumo.client.waiting import look_again

        kwargs = own_event(next_kwargs, context)
        if kwargs is None:
            return self.execute(context)
        try:
            return super().resume_execution(next_method, kwargs, context)
        except AirflowException:
            if next_method != _NO_EVENT:
                raise
            job = self._job(self._pushed(context, "job_id"), self._pushed(context, TRACKING_URL_KEY))
            with self._no_job_left_behind(context, job):
                client = self._client()
                job = look_again(client, job)
                if not job.is_terminal and time.time() < self._deadline(job, context):
                    raise
                return self._finish(client, job, context)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:  # noqa: ARG002
        """Return what the job has read and written, and facets about it; None if the task has started none.

        Called by Airflow's OpenLineage provider, if that is installed, when the task has succeeded or failed.
        """
        if self._seen is None:
            return None
        from airflow_provider_kumo.lineage import lineage_of

        client, job = self._seen
        # The provider calls from a fork of the task's process, which must not share connections with it.
        with client.twin() as twin:
            return lineage_of(job, self._outputs(), twin, log=self.log)

    def _outputs(self) -> Sequence[Mapping[str, Any]]:
        """Return where the job writes."""
        return ()

    def on_kill(self) -> None:
        """Cancel the job because this worker's task is being killed."""
        if not self.cancel_on_kill:
            return
        if self._submitter is not None:
            self._submitter.abandon()
        elif not AIRFLOW_V_3_0_PLUS:
            self._let_go_of_what_came_back_too_late()

    def _let_go_of_what_came_back_too_late(self) -> None:
        """Cancel the job of a task that has come back from its trigger after its ``execution_timeout``.

        Airflow 2 does not let such a task go on: ``on_kill`` is all that it calls (``_execute_task``).
        """
        try:
            context = get_current_context()
        except (AirflowException, RuntimeError):
            # Killed before it began, so it has come back from nothing. Which of the two it is depends on who answers.
            return
        ti: Any = context["ti"]
        if ti.next_method is not None and time.time() >= self._ends_by_execution_timeout(context):
            self._let_go(self._job(self._pushed(context, "job_id"), self._pushed(context, TRACKING_URL_KEY)))

    @contextmanager
    def _no_job_left_behind(self, context: Context, job: Job | None = None) -> Iterator[None]:
        """Cancel the job if the task fails for good while it may still run: nobody would wait for it any more.

        :param job: the one that an earlier process of this try has started; None for the one that this process has.
        """
        try:
            yield
        except Exception as error:
            # A KumoJobError tells how the job has ended.
            ended = isinstance(error, AirflowSkipException) or isinstance(error.__cause__ or error, KumoJobError)
            if self.cancel_on_kill and not ended and self._fails_for_good(error, context):
                self._let_go(job)
            raise

    def _fails_for_good(self, error: Exception, context: Context) -> bool:
        """Tell whether no further try will go on with this one's job."""
        return not self.durable or isinstance(error, AirflowFailException) or Attempt.of(context).is_last

    def _let_go(self, job: Job | None) -> None:
        if self._submitter is not None:
            self._submitter.abandon()
        elif job is not None:
            try:
                client = self._hook().get_conn()
            except KumoError as error:
                self.log.warning("%s may still be running in Kumo, see %s: %s", job.id, job.page, error)
            else:
                cancel_and_confirm(client, job, log=self.log)

    def _job(self, job_id: str, tracking_url: str | None) -> Job:
        """Return a job of which no more is known than that it was running."""
        return Job(id=job_id, kind=self.kind, status=JobStatus.RUNNING, tracking_url=tracking_url)

    def _pushed(self, context: Context, key: str) -> Any:
        ti: Any = context["ti"]
        return ti.xcom_pull(task_ids=self.task_id, key=key, map_indexes=ti.map_index)

    def _client(self) -> KumoClient:
        with told_to_airflow():
            return self._hook().get_conn()

    def _run(self, context: Context) -> Any:
        client = self._client()
        with told_to_airflow():
            job = self._find_or_submit(client, context)
        if not self.wait_for_completion:
            describe_outlets(self.outlets, context, job)
            if self.durable:
                mark_delivered(client, job, log=self.log, attempt=Attempt.of(context))
            return job.result()
        if self.deferrable and not job.is_terminal:
            self._defer(job, context)
        # Not told as final, whatever the cause: the job may live, and a further try goes on with it.
        return self._finish(client, self._wait(client, job, context), context)

    def _find_or_submit(self, client: KumoClient, context: Context) -> Job:
        submission = Submission(
            kind=self.kind,
            key=TaskKey.of(context, durable=self.durable),
            arguments=self._arguments(),
            build=lambda tags: self._create(client, {**(self.job_tags or {}), **tags}),
            attempt=Attempt.of(context),
            defers=self.deferrable and self.wait_for_completion,
        )
        self._submitter = Submitter(client, submission, durable=self.durable, log=self.log)
        job, started = self._submitter.find_or_submit()
        self._seen = (client, job)
        context["ti"].xcom_push(key="job_id", value=job.id)
        context["ti"].xcom_push(key=TRACKING_URL_KEY, value=job.tracking_url)
        if started:
            self.log.info("Started %s %s. See %s", job.kind.label, job.id, job.tracking_url or "it in Kumo's UI")
        return job

    def _defer(self, job: Job, context: Context) -> None:
        """Wait in the triggerer; returns only if the job's time is as good as up, which is waited for here."""
        from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

        deadline = self._deadline(job, context)
        if deadline - time.time() < _TOO_SHORT_TO_DEFER:
            return
        self.defer(
            trigger=KumoJobTrigger(
                kumo_conn_id=self.kumo_conn_id,
                job_id=job.id,
                job_kind=job.kind.value,
                poll_interval=self.poll_interval,
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
                deferred_at=time.time(),
            ),
            method_name="execute_complete",
            kwargs=try_of(context),
            timeout=timedelta(seconds=max(0.0, deadline - time.time())) + _BACKSTOP_SLACK,
        )

    def _wait(self, client: KumoClient, job: Job, context: Context) -> Job:
        from airflow_provider_kumo.client.waiting import wait_for

        interval = self.poll_interval or client.config.poll_interval
        watch = Watch(poll_interval=interval, deadline=self._deadline(job, context))
        return wait_for(client, job, watch, log=self.log)

    def _deadline(self, job: Job, context: Context) -> float:
        """Return the POSIX time until which the job may run.

        ``timeout`` counts from the job's creation, so that a try that goes on with an earlier job does not start it
        afresh. Airflow 3 does not apply ``execution_timeout`` to a deferred task, so it is applied here.
        """
        created = time.time() if job.created_at is None else job.created_at.timestamp()
        return min(created + self.timeout, self._ends_by_execution_timeout(context))

    def _ends_by_execution_timeout(self, context: Context) -> float:
        """Return the POSIX time at which ``execution_timeout`` ends this try; infinity if it does not."""
        started = context["ti"].start_date
        if self.execution_timeout is None or started is None:
            return math.inf
        return started.timestamp() + self.execution_timeout.total_seconds()

    def _finish(self, client: KumoClient, job: Job, context: Context) -> Any:
        """Bring a job's end to Airflow: the one place where success is told from everything else."""
        from airflow_provider_kumo.client.waiting import look_again

        timed_out = not job.is_terminal
        if timed_out:
            # It may have ended well after the last look.
            job = cancel_and_confirm(client, job, log=self.log) if self.cancel_on_kill else look_again(client, job)
        self._seen = (client, job)
        if timed_out and job.status != JobStatus.DONE:
            raise timeout_of(job, timeout=self.timeout, since="its creation")
        for line in closing_lines(job, now=time.time()):
            self.log.info("%s", line)
        error = error_of(job)
        if isinstance(error, KumoJobAbandonedError) and not self._is_killed:
            # An earlier try was cleared while this one had already taken its job up.
            self.log.warning("%s Starting anew.", error)
            return self._run(context)
        if isinstance(error, KumoJobCancelledError) and self.if_cancelled == "skip":
            raise AirflowSkipException(str(error))
        if error is not None:
            with told_to_airflow():
                raise error
        describe_outlets(self.outlets, context, job)
        if self.durable:
            mark_delivered(client, job, log=self.log, attempt=Attempt.of(context))
        return job.result()

    @property
    def _is_killed(self) -> bool:
        return self._submitter is not None and self._submitter.abandoned


class KumoRetrainOperator(_KumoJobOperator):
    """Train a predictive query again on fresh data.

    Returns ``{"job_id", "kind", "status", "tracking_url", "pquery_id", "created_at", "started_at", "ended_at",
    "metrics", "num_entities_predicted"}``; ``retrain.output["job_id"]`` is what
    :class:`KumoBatchPredictOperator` takes as ``training_job_id``.

    :param pquery_id: id or name of the predictive query. (templated)
    :param model_plan: a ModelPlan of Kumo as a dict, or a part of one. None copies the plan of the query's newest
        successful training, as Kumo's own client does when it refits; ``{}`` asks Kumo's AutoML for a fresh plan.
        (templated)
    :param warm_start_job_id: a finished training job whose best weights to start from. (templated)
    :param graph_snapshot_id: train on this snapshot of the graph's data; None lets Kumo ingest the data. (templated)
    :param refresh_snapshot: make a fresh snapshot of the graph's data first and train on that.
    :param job_tags: tags for the job, beside the provider's own. (templated)
    :param kumo_conn_id: id of the Airflow connection. (templated)
    :param wait_for_completion: wait for the job to end; else return once it has started.
    :param deferrable: wait in the triggerer, without a worker. Default: Airflow's
        ``[operators] default_deferrable`` if somebody has chosen it, else True.
    :param poll_interval: seconds or a timedelta between two looks at the job; None spaces them by its age.
    :param timeout: seconds or a timedelta that the job may take from its creation; then it is cancelled.
    :param cancel_on_kill: cancel the job in Kumo when the task is killed, cleared, marked, or times out.
    :param durable: go on with the job of an earlier try instead of starting another.
    :param if_cancelled: what becomes of the task when a person cancels its job in Kumo: ``fail``, for good, or
        ``skip``.
    """

    kind = JobKind.TRAINING
    template_fields: Sequence[str] = (
        "pquery_id",
        "model_plan",
        "warm_start_job_id",
        "graph_snapshot_id",
        "job_tags",
        "kumo_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"model_plan": "json", "job_tags": "json"}

    def __init__(
        self,
        *,
        pquery_id: str,
        model_plan: Mapping[str, Any] | None = None,
        warm_start_job_id: str | None = None,
        graph_snapshot_id: str | None = None,
        refresh_snapshot: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pquery_id = pquery_id
        self.model_plan = model_plan
        self.warm_start_job_id = warm_start_job_id
        self.graph_snapshot_id = graph_snapshot_id
        self.refresh_snapshot = check_switch("refresh_snapshot", refresh_snapshot)
        if refresh_snapshot and graph_snapshot_id is not None:
            raise KumoArgumentError(
                "refresh_snapshot=True makes a new snapshot, so graph_snapshot_id cannot be given too."
            )
        check_settled(check_id, "pquery_id", pquery_id)
        check_settled(check_model_plan, model_plan)
        for argument, value in (("warm_start_job_id", warm_start_job_id), ("graph_snapshot_id", graph_snapshot_id)):
            if value is not None:
                check_settled(check_id, argument, value)

    def _check(self) -> None:
        training_request(**self._request())

    def _arguments(self) -> dict[str, Any]:
        return {**self._request(), "refresh_snapshot": self.refresh_snapshot}

    def _request(self) -> dict[str, Any]:
        return {
            "pquery_id": self.pquery_id,
            "model_plan": self.model_plan,
            "warm_start_job_id": self.warm_start_job_id,
            "graph_snapshot_id": self.graph_snapshot_id,
            "job_tags": self.job_tags,
        }

    def _create(self, client: KumoClient, tags: Mapping[str, str]) -> calls.Call[str]:
        body = training_request(**self._request())
        body["job_tags"] = dict(tags)
        if self.model_plan is None:
            body["model_plan"] = self._newest_plan(client)
        if self.refresh_snapshot:
            body["graph_snapshot_id"] = self._fresh_snapshot(client)
        return calls.create_training_job(body)

    def _newest_plan(self, client: KumoClient) -> dict[str, Any]:
        newest = newest_training_job(client.send, self.pquery_id)
        if newest is None or newest.model_plan is None:
            self.log.info("No successful training of %s to copy a plan from: Kumo chooses one.", self.pquery_id)
            return {}
        self.log.info("Training with the model plan of %s.", newest.id)
        return dict(newest.model_plan)

    def _fresh_snapshot(self, client: KumoClient) -> str:
        query = client.send(calls.get_predictive_query(self.pquery_id))
        graph_id = client.send(calls.save_graph(query.graph))
        snapshot_id = client.send(calls.create_graph_snapshot(graph_id))
        self.log.info("Training on the fresh graph snapshot %s.", snapshot_id)
        return snapshot_id


class KumoBatchPredictOperator(_KumoJobOperator):
    """Predict for every entity of a predictive query with a trained model.

    Returns the same value as :class:`KumoRetrainOperator`, with ``num_entities_predicted``.

    :param training_job_id: the training job whose model predicts, such as ``retrain.output["job_id"]``. (templated)
    :param pquery_id: instead, the predictive query whose newest successful training job predicts. (templated)
    :param outputs: where the results go, each made by a function of :mod:`airflow_provider_kumo.outputs`; none keeps
        them in Kumo. ``{{PARTITION}}`` in a path is Kumo's own and survives templating. (templated)
    :param prediction_time: the moment to predict from, such as
        ``"{{ dag_run.data_interval_end or dag_run.run_after }}"``; without an offset it is
        UTC. None lets Kumo take the latest time in the data. (templated)
    :param binary_classification_threshold: score from 0 to 1 from which an entity counts as positive. (templated)
    :param num_classes_to_return: how many of the best classes to return for each entity. (templated)
    :param num_workers: in how many parts to predict in parallel; Kumo's default is 1. (templated)
    :param explanations: explain each prediction; Kumo's default is no. (templated)
    :param job_tags: tags for the job, beside the provider's own. (templated)
    :param kumo_conn_id: id of the Airflow connection. (templated)
    :param wait_for_completion: wait for the job to end; else return once it has started.
    :param deferrable: wait in the triggerer, without a worker. Default: Airflow's
        ``[operators] default_deferrable`` if somebody has chosen it, else True.
    :param poll_interval: seconds or a timedelta between two looks at the job; None spaces them by its age.
    :param timeout: seconds or a timedelta that the job may take from its creation; then it is cancelled.
    :param cancel_on_kill: cancel the job in Kumo when the task is killed, cleared, marked, or times out.
    :param durable: go on with the job of an earlier try instead of starting another.
    :param if_cancelled: what becomes of the task when a person cancels its job in Kumo: ``fail``, for good, or
        ``skip``.
    """

    kind = JobKind.PREDICTION
    template_fields: Sequence[str] = (
        "training_job_id",
        "pquery_id",
        "outputs",
        "prediction_time",
        "binary_classification_threshold",
        "num_classes_to_return",
        "num_workers",
        "explanations",
        "job_tags",
        "kumo_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"outputs": "json", "job_tags": "json"}

    def __init__(
        self,
        *,
        training_job_id: str | None = None,
        pquery_id: str | None = None,
        outputs: Sequence[Mapping[str, Any]] = (),
        prediction_time: Any = None,
        binary_classification_threshold: float | None = None,
        num_classes_to_return: int | None = None,
        num_workers: int | None = None,
        explanations: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_job_id = training_job_id
        self.pquery_id = pquery_id
        self.outputs = outputs
        self.prediction_time = prediction_time
        self.binary_classification_threshold = binary_classification_threshold
        self.num_classes_to_return = num_classes_to_return
        self.num_workers = num_workers
        self.explanations = explanations
        if (training_job_id is None) == (pquery_id is None):
            raise KumoArgumentError(_ONE_MODEL.format(training_job_id=training_job_id, pquery_id=pquery_id))
        check_settled(check_outputs, outputs)
        check_settled(check_share, "binary_classification_threshold", binary_classification_threshold)
        check_settled(check_count, "num_classes_to_return", num_classes_to_return)
        check_settled(check_count, "num_workers", num_workers)
        for check, argument, value in (
            (check_id, "training_job_id", training_job_id),
            (check_id, "pquery_id", pquery_id),
            (check_flag, "explanations", explanations),
        ):
            if value is not None:
                check_settled(check, argument, value)
        if prediction_time is not None and is_settled(prediction_time):
            check_prediction_time(prediction_time)

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render as Airflow does, but leave Kumo's own placeholder ``{{PARTITION}}`` standing."""
        env = jinja_env or self.get_template_env()
        env.globals["PARTITION"] = PARTITION
        return super().render_template(content, context, env, seen_oids)

    def _outputs(self) -> Sequence[Mapping[str, Any]]:
        return check_outputs(self.outputs)

    def _check(self) -> None:
        if bool(self.training_job_id) == bool(self.pquery_id):
            raise KumoArgumentError(_ONE_MODEL.format(training_job_id=self.training_job_id, pquery_id=self.pquery_id))
        if self.pquery_id is not None:
            check_id("pquery_id", self.pquery_id)
        self._body(self.training_job_id or _NEWEST)
        for index, output in enumerate(self.outputs or ()):
            # Airflow renders no values that a task group is mapped over, and no results of tasks.
            if not is_settled(output):
                raise KumoArgumentError(f"outputs[{index}]: a template in it was not rendered: {output}")

    def _arguments(self) -> dict[str, Any]:
        # With a query, the fingerprint must not depend on which model is the newest when the task is tried again.
        return {**self._body(self.training_job_id or _NEWEST), "pquery_id": self.pquery_id}

    def _body(self, training_job_id: str, *, connector_required: bool = False) -> dict[str, Any]:
        return prediction_request(
            training_job_id=training_job_id,
            job_tags=self.job_tags,
            outputs=self.outputs,
            prediction_time=self.prediction_time,
            binary_classification_threshold=self.binary_classification_threshold,
            num_classes_to_return=self.num_classes_to_return,
            num_workers=self.num_workers,
            explanations=self.explanations,
            connector_required=connector_required,
        )

    def _create(self, client: KumoClient, tags: Mapping[str, str]) -> calls.Call[str]:
        body = self._body(self._model(client), connector_required=bool(client.config.scope))
        body["job_tags"] = dict(tags)
        return calls.create_prediction_job(body)

    def _model(self, client: KumoClient) -> str:
        if self.training_job_id is not None:
            return self.training_job_id
        pquery_id = str(self.pquery_id)
        newest = newest_training_job(client.send, pquery_id)
        if newest is None:
            raise KumoNotFoundError(
                f"pquery_id: predictive query {pquery_id!r} has no successful training job to predict with. "
                "Check the name, or retrain it first."
            )
        self.log.info("Predicting with %s, the newest model of %s.", newest.id, pquery_id)
        return newest.id


_NEWEST = "newest"
_ONE_MODEL = (
    "Give either training_job_id or pquery_id: the model itself, or the query whose newest model predicts; "
    "got training_job_id={training_job_id!r} and pquery_id={pquery_id!r}. A template that has rendered nothing counts "
    "as none."
)


class KumoCancelJobOperator(_KumoOperator):
    """Cancel a job in Kumo. Cancelling a job that has already ended is no error.

    Returns the job as the other operators do. Kumo cancels as well as it can: a job may still end as DONE.

    :param job_id: the job. (templated)
    :param job_kind: ``training`` or ``prediction``; None tells it from the id (``trainingjob-…``, ``bp-job-…``).
        (templated)
    :param wait_for_completion: wait until the job has ended; else return once Kumo was asked.
    :param timeout: seconds or a timedelta to wait for the end.
    :param kumo_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = ("job_id", "job_kind", "kumo_conn_id")

    def __init__(
        self,
        *,
        job_id: str,
        job_kind: str | None = None,
        wait_for_completion: bool = True,
        timeout: float | timedelta = timedelta(minutes=10),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.job_kind = job_kind
        self.wait_for_completion = check_switch("wait_for_completion", wait_for_completion)
        self.timeout = required_seconds("timeout", timeout)
        check_settled(JobKind.named, job_id, job_kind)

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask Kumo to cancel the job, and wait until it has ended.

        :raises AirflowFailException: there is no such job.
        :raises KumoJobTimeoutError: the job has not ended in time.
        """
        from airflow_provider_kumo.client.waiting import look_again, wait_for

        with told_to_airflow():
            kind = JobKind.named(self.job_id, self.job_kind)
            client = self._hook().get_conn()
            job = client.send(calls.get_job(kind, self.job_id))
            context["ti"].xcom_push(key=TRACKING_URL_KEY, value=job.tracking_url)
            if job.is_terminal:
                self.log.info("%s %s has already ended as %s.", kind.label.capitalize(), job.id, job.status)
                return job.result()
            client.send(calls.cancel_job(kind, job.id))
            self.log.info("Asked Kumo to cancel %s %s.", kind.label, job.id)
            job = look_again(client, job)
            if not self.wait_for_completion:
                return job.result()
            deadline = time.time() + self.timeout
            interval = client.config.poll_interval or _CANCEL_POLL_INTERVAL
            job = wait_for(client, job, Watch(poll_interval=interval, deadline=deadline), log=self.log)
            if not job.is_terminal:
                raise timeout_of(job, timeout=self.timeout, since="the request to cancel it")
            for line in closing_lines(job, now=time.time()):
                self.log.info("%s", line)
            return job.result()


_CANCEL_POLL_INTERVAL = 10.0
