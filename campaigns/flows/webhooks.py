"""Calling what steps of flows want called: signed, repeated until answered, and never more than a host can bear.

A call is claimed for as long as a try may last, then made without any transaction, then its answer is stored. A worker
that dies leaves it to the next one; whoever is called tells repetitions by the call's number.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import webhook_keys
from campaigns.models import WebhookHost
from crm import alerts, wake
from delivery import httpclient, pushhosts, webhook_hosts, webhook_signing
from delivery.dispatch.backoff import next_try

TASK, QUEUE = "campaigns.tasks.call_webhooks", "webhooks"
BATCH, PER_HOST = 100, 25
SECONDS = 10  # of one try
LEASE = timedelta(seconds=60)
KEPT = 65_536  # bytes of an answer
DEEPEST = 20  # levels of an answer: whoever reads a run reads its answers, and must be able to
ATTEMPTS = 12
FAILURES = 5  # batches in a row without an answer, after which a host is left alone
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=15)
LONGEST_WISH = timedelta(hours=1)  # of a host that says when to come again
FORGET_AFTER = timedelta(days=30)
AGAIN = frozenset({408, 425, 429})  # the others below 500 say that it will never do

_ASK = """
    INSERT INTO campaigns_webhookcall (enrollment_id, flow_id, profile_id, step, host_id, url, method, headers, body,
        awaited, state, attempts, due_at, expires_at, error, asked_at)
    SELECT r.enrollment, r.flow, r.profile, %(step)s, %(host)s, %(url)s, %(method)s, %(headers)s::jsonb, r.body,
        %(awaited)s, 'waiting', 0, %(now)s, %(expires)s, '', %(now)s
    FROM jsonb_to_recordset(%(calls)s::jsonb) AS r(enrollment bigint, flow bigint, profile bigint, body text)
    ON CONFLICT (enrollment_id, step) DO NOTHING
"""
_EXPIRE = """
    WITH late AS MATERIALIZED (
        SELECT id FROM campaigns_webhookcall WHERE due_at <= %(now)s AND expires_at <= %(now)s
        ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
    )
    UPDATE campaigns_webhookcall c SET state = 'expired', due_at = NULL, finished_at = %(now)s
    FROM late WHERE c.id = late.id RETURNING c.id
"""
# A host that has failed several times is tried with one call only.
_CLAIM = """
    WITH hosts AS MATERIALIZED (
        SELECT h.id, CASE WHEN h.failures >= %(failures)s THEN 1 ELSE %(per_host)s END AS places
        FROM campaigns_webhookhost h
        WHERE (h.open_until IS NULL OR h.open_until <= %(now)s) AND EXISTS (
            SELECT FROM campaigns_webhookcall c WHERE c.host_id = h.id AND c.due_at <= %(now)s)
    ), mine AS MATERIALIZED (
        SELECT c.id FROM hosts CROSS JOIN LATERAL (
            SELECT id FROM campaigns_webhookcall WHERE host_id = hosts.id AND due_at <= %(now)s
            ORDER BY due_at, id LIMIT hosts.places FOR UPDATE SKIP LOCKED
        ) c LIMIT %(batch)s
    )
    UPDATE campaigns_webhookcall c SET due_at = %(until)s, attempts = c.attempts + 1
    FROM mine WHERE c.id = mine.id
    RETURNING c.id, c.host_id, c.url, c.method, c.headers::text, c.body, c.attempts, c.expires_at
"""
_STORE = """
    UPDATE campaigns_webhookcall c
    SET state = r.state, due_at = r.due_at, status_code = r.status, reply = r.reply, error = r.error,
        finished_at = CASE WHEN r.state = 'waiting' THEN NULL ELSE %(now)s END
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(id bigint, attempts int, state text, due_at timestamptz, status int,
        reply jsonb, error text)
    WHERE c.id = r.id AND c.attempts = r.attempts AND c.due_at IS NOT NULL
    RETURNING c.id
"""
_WAKE = """
    UPDATE campaigns_enrollment e SET due_at = %(now)s FROM campaigns_webhookcall c
    WHERE c.id = ANY(%(calls)s) AND c.awaited AND c.due_at IS NULL AND e.id = c.enrollment_id
      AND e.state = 'active' AND e.step = c.step
"""
_FORGET = """
    WITH old AS MATERIALIZED (
        SELECT id FROM campaigns_webhookcall
        WHERE finished_at < %s AND (body <> '' OR reply IS NOT NULL) ORDER BY finished_at LIMIT 5000
    )
    UPDATE campaigns_webhookcall c SET body = '', reply = NULL, headers = '{}' FROM old WHERE c.id = old.id
"""


class Wanted(msgspec.Struct):
    """One run's call."""

    enrollment: int
    flow: int
    profile: int
    body: str


class _Call(msgspec.Struct):
    id: int
    host: int
    url: str
    method: str
    headers: dict[str, str]
    body: str
    attempts: int
    expires_at: datetime


class _Result(msgspec.Struct):
    id: int
    attempts: int
    state: str
    due_at: datetime | None
    status: int | None
    reply: Any
    error: str


def ask(
    calls: Sequence[Wanted],
    step: str,
    url: str,
    method: str,
    headers: dict[str, str],
    awaited: bool,
    expires_at: datetime,
    now: datetime,
) -> None:
    """Store calls that are to be made, one for each run and step, in the caller's transaction.

    Args:
        awaited: the runs are held at the step and are woken by the answer.
        expires_at: when to give up.

    Raises:
        BadAddress: the address may not be called.
    """
    if not calls:
        return
    origin = webhook_hosts.look_at(url).origin
    WebhookHost.objects.bulk_create([WebhookHost(origin=origin)], ignore_conflicts=True)
    host = WebhookHost.objects.only("pk").get(origin=origin)
    with connection.cursor() as cursor:
        cursor.execute(
            _ASK,
            {
                "step": step,
                "host": host.pk,
                "url": url,
                "method": method,
                "headers": msgspec.json.encode(headers).decode(),
                "awaited": awaited,
                "now": now,
                "expires": expires_at,
                "calls": msgspec.json.encode(calls).decode(),
            },
        )
    wake.on_commit(TASK, QUEUE)


def perform(now: datetime | None = None) -> int:
    """Make the calls that are due, a batch of them; how many were made."""
    calls = _claim(now or timezone.now())
    if not calls:
        return 0
    responses = dict(_send(calls))
    _store(calls, responses, now or timezone.now())
    return len(calls)


def _claim(now: datetime) -> list[_Call]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_EXPIRE, {"now": now})
        _woken([row[0] for row in cursor.fetchall()], now)
        cursor.execute(
            _CLAIM,
            {
                "now": now,
                "until": now + LEASE,
                "failures": FAILURES,
                "per_host": PER_HOST,
                "batch": BATCH,
            },
        )
        return [
            _Call(pk, host, url, method, msgspec.json.decode(headers), body, attempts, expires_at)
            for pk, host, url, method, headers, body, attempts, expires_at in cursor.fetchall()
        ]


def _send(calls: Sequence[_Call]) -> Iterator[tuple[int, httpclient.Response[int]]]:
    keys = webhook_keys.present()
    at = int(time.time())  # the receiver's clock is a real one
    requests = []
    for call in calls:
        try:
            trusted = webhook_hosts.look_at(call.url).trusted
        except webhook_hosts.BadAddress as error:
            yield call.id, httpclient.Response(call.id, 0, {}, b"", str(error), refused=True)
            continue
        body = call.body.encode()
        headers = [f"{name}: {value}" for name, value in call.headers.items()]
        headers += [
            "Content-Type: application/json",
            *webhook_signing.sign(keys, f"nudge_{call.id}", at, body),
        ]
        requests.append(
            httpclient.Request(
                call.id, call.url, headers, body, trusted, method=call.method, seconds=SECONDS, keep=KEPT
            )
        )
    for response in httpclient.client(pushhosts.public).post(requests):
        yield response.tag, response


def _store(calls: Sequence[_Call], responses: dict[int, httpclient.Response[int]], now: datetime) -> None:
    results = [_judge(call, responses[call.id], now) for call in calls if call.id in responses]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_STORE, {"rows": msgspec.json.encode(results).decode(), "now": now})
            stored = [row[0] for row in cursor.fetchall()]
        _woken(stored, now)
        _note_hosts(calls, responses, now)


def _judge(call: _Call, response: httpclient.Response[int], now: datetime) -> _Result:
    """What an answer means for its call."""
    status = response.status
    result = _Result(call.id, call.attempts, "waiting", None, status or None, None, response.error[:500])
    if 200 <= status < 300:
        result.state = "answered" if now <= call.expires_at else "expired"
        result.reply = _reply(response.body)
        return result
    if 300 <= status < 400:
        result.error = "redirects are not followed"
    if response.refused or (200 <= status < 500 and status not in AGAIN) or call.attempts >= ATTEMPTS:
        result.state = "failed"
        return result
    result.due_at = next_try(call.attempts, now, call.expires_at, _wish(response))
    return result


def _reply(body: bytes) -> Any:
    """The answer as JSON; of another one its beginning as text, None of an empty one."""
    if not body.strip():
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace").replace("\0", "")[:2000]
    return value if _keepable(value) else None


def _keepable(value: Any, depth: int = 1) -> bool:
    """Whether PostgreSQL can keep it, and whoever reads the run can read it."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list):
        inner = value
    else:
        return True
    return depth <= DEEPEST and all(_keepable(each, depth + 1) for each in inner)


def _wish(response: httpclient.Response[int]) -> timedelta | None:
    """What Retry-After says, in seconds; a date there is passed over."""
    told = response.headers.get("retry-after", "").strip()
    if response.status not in (429, 503) or not told.isdecimal() or len(told) > 9:
        return None
    return min(timedelta(seconds=int(told)), LONGEST_WISH)


def _woken(call_ids: Sequence[int], now: datetime) -> None:
    """Let the engine look at the runs that waited for these calls."""
    if not call_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(_WAKE, {"calls": list(call_ids), "now": now})
        if cursor.rowcount:
            wake.on_commit("campaigns.tasks.run_engine", "engine")


def _note_hosts(
    calls: Sequence[_Call], responses: dict[int, httpclient.Response[int]], now: datetime
) -> None:
    """Leave hosts alone that gave no answer at all; one answer is enough to go on with all calls."""
    answers: dict[int, list[httpclient.Response[int]]] = {}
    for call in calls:
        if call.id in responses and not responses[call.id].refused:
            answers.setdefault(call.host, []).append(responses[call.id])
    hosts = WebhookHost.objects.select_for_update(no_key=True).filter(pk__in=answers).order_by("pk")
    for host in hosts:
        silent = [answer for answer in answers[host.pk] if answer.status == 0 or answer.status >= 500]
        if len(silent) < len(answers[host.pk]):
            if host.failures:
                host.failures, host.open_until, host.error = 0, None, ""
                host.save()
                transaction.on_commit(partial(alerts.resolve, alert_key(host.pk)))
            continue
        host.failures += 1
        host.error = (silent[0].error or f"HTTP {silent[0].status}")[:500]
        if host.failures >= FAILURES:
            host.open_until = now + min(FIRST_PAUSE * 2 ** min(host.failures - FAILURES, 10), LONGEST_PAUSE)
            transaction.on_commit(partial(_tell, host))
        host.save()


def _tell(host: WebhookHost) -> None:
    alerts.raise_alert(
        alert_key(host.pk),
        f"{host.origin} does not answer flows",
        f"It is tried again now and then; calls wait for it until they are given up. The reason: {host.error}",
    )


def alert_key(host_id: int) -> str:
    """What alerts about a host are kept under."""
    return f"webhooks:{host_id}"


def forget(now: datetime | None = None) -> int:
    """Drop what was sent and answered a month ago; that it was stays. How many."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [(now or timezone.now()) - FORGET_AFTER])
        return cursor.rowcount
