"""What delivery listens to."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import TextField, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import merge_preview, merging, proof, signals, unmerging

DELIVERIES, COUPONS, INBOUND = "delivery_delivery", "delivery_couponcode", "delivery_inboundmessage"
ALREADY = "the same person gets it already"
ERASED = "the person was erased"
EXPOSURES = (
    "exposures"  # in what a merge writes down: what the loser was part of, and whether it became the winner's
)
DROPPED = "what the provider said was dropped with the person"


# What came from the loser and is still so goes back; what the winner was part of besides stays.
_GIVE_BACK = """
    WITH told AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS r(experiment text, arm text, at timestamptz, kept bool)
    ), back AS (
        INSERT INTO delivery_exposure (experiment, profile_id, arm, at)
        SELECT experiment, %(loser)s, arm, at FROM told ON CONFLICT DO NOTHING
    )
    DELETE FROM delivery_exposure e USING told t
    WHERE t.kept AND e.profile_id = %(winner)s AND e.experiment = t.experiment AND e.arm = t.arm AND e.at = t.at
"""


def connect() -> None:
    """Called once when the app is ready."""
    from crm.computed import usage as computed_usage
    from delivery import clicks, spool_drain, streams
    from delivery.content import usage
    from delivery.links import hits

    computed_usage.register(usage.computed)
    proof.register(clicks.people)
    spool_drain.handlers[hits.KIND] = hits.store
    signals.profiles_merging.connect(move_deliveries, dispatch_uid="delivery.move_deliveries")
    merge_preview.register(count_deliveries)
    signals.profiles_unmerging.connect(give_back_deliveries, dispatch_uid="delivery.give_back_deliveries")
    signals.profiles_erased.connect(forget_people, dispatch_uid="delivery.forget_people")
    signals.events_recorded.connect(streams.wake_up, dispatch_uid="delivery.streams")


def move_deliveries(pairs: list[tuple[int, int]], moved: dict[int, dict[str, Any]], **kwargs: Any) -> None:
    """Give merged profiles' deliveries and coupons to the profiles they were merged into, in the merge's transaction.

    Of one broadcast to both, the copy that still waits is not sent. What either was part of, the winner is part of.
    """
    merging.repoint(COUPONS, pairs, moved)
    merging.repoint(INBOUND, pairs, moved)
    if merging.repoint(DELIVERIES, pairs, moved):
        _send_once([winner for _loser, winner in pairs])
    # Behind the deliveries, as the dispatcher has it.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM delivery_exposure e
                USING unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)
                WHERE e.profile_id = m.loser RETURNING m.loser, m.winner, e.experiment, e.arm, e.at
            ), first AS (
                SELECT DISTINCT ON (experiment, winner) * FROM gone ORDER BY experiment, winner, at, loser
            ), kept AS (
                INSERT INTO delivery_exposure (experiment, profile_id, arm, at)
                SELECT experiment, winner, arm, at FROM first
                ON CONFLICT DO NOTHING RETURNING experiment, profile_id
            )
            SELECT g.loser, jsonb_agg(jsonb_build_object('experiment', g.experiment, 'arm', g.arm, 'at', g.at,
                'kept', f.loser IS NOT NULL AND k.profile_id IS NOT NULL))
            FROM gone g LEFT JOIN first f USING (experiment, winner, loser)
            LEFT JOIN kept k ON k.experiment = g.experiment AND k.profile_id = g.winner
            GROUP BY 1
            """,
            merging.columns(pairs),
        )
        for loser, told in cursor.fetchall():
            moved[loser][EXPOSURES] = json.loads(told) if isinstance(told, str) else told


def _send_once(winners: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM (
                SELECT d.id, d.state, row_number() OVER (
                    PARTITION BY d.profile_id, d.origin_id, d.message_id, d.channel
                    ORDER BY d.state IN ('queued', 'deferred'), d.id) AS copy
                FROM delivery_delivery d
                WHERE d.profile_id = ANY(%s) AND d.origin_type = 'broadcast'
                  AND d.state NOT IN ('suppressed', 'failed', 'expired')
            ) AS sent WHERE copy > 1 AND state IN ('queued', 'deferred')
            """,
            [winners],
        )
        copies = [row[0] for row in cursor.fetchall()]
    _suppress(copies, ALREADY)


def count_deliveries(profile_ids: Sequence[int]) -> list[merge_preview.Line]:
    """For the preview of a merge: how many messages each of these profiles was sent or waits for."""
    from delivery.models import Delivery

    return [merge_preview.counted(_("Messages"), Delivery.objects.filter(profile_id__in=profile_ids))]


def give_back_deliveries(loser: int, winner: int, moved: dict[str, Any], **kwargs: Any) -> None:
    """Undo `move_deliveries`; a copy that was not sent stays so."""
    for table in (DELIVERIES, COUPONS, INBOUND):
        unmerging.give_back(table, moved.get(merging.ROWS, {}), loser, winner)
    if told := moved.get(EXPOSURES):
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_BACK, {"rows": json.dumps(told), "loser": loser, "winner": winner})


def forget_people(profile_ids: list[int], **kwargs: Any) -> None:
    """Send nothing more to erased people and drop what was written to them; that it was written stays in the ledger.

    Their coupons stay given, and are nobody's; what they wrote to us is dropped.
    """
    from delivery.links import targets
    from delivery.models import (
        Attempt,
        CouponCode,
        Delivery,
        Exposure,
        InboundMessage,
        LinkHit,
        ProviderReport,
        SandboxItem,
    )
    from delivery.streams import calling

    calling.forget_people(profile_ids)
    targets.forget()
    theirs = Delivery.objects.filter(profile_id__in=profile_ids)
    _suppress(list(theirs.filter(state__in=Delivery.WAITING).values_list("pk", flat=True)), ERASED)
    # Behind the deliveries, as the dispatcher has it: whoever was at them has recorded by now what they were part of.
    Exposure.objects.filter(profile_id__in=profile_ids).delete()
    theirs.update(context={}, content=None, links=[])
    # A provider's words about an address or a number; our own reasons hold neither.
    theirs.filter(reason__regex=r"@|[0-9]{6}").update(reason=DROPPED)
    LinkHit.objects.filter(delivery__profile_id__in=profile_ids).delete()
    tries = Attempt.objects.filter(delivery__profile_id__in=profile_ids)
    addresses = list(tries.exclude(address="").values_list("address", flat=True).distinct())
    SandboxItem.objects.filter(delivery=None, address__in=addresses).delete()  # answers to what they wrote
    tries.update(detail="", address="", provider_id="")
    ProviderReport.objects.filter(delivery__profile_id__in=profile_ids).delete()
    SandboxItem.objects.filter(delivery__profile_id__in=profile_ids).delete()
    InboundMessage.objects.filter(profile_id__in=profile_ids).delete()
    unknown = InboundMessage.objects.filter(
        profile=None, channel__in=("sms", "whatsapp"), address__in=addresses
    )
    unknown.delete()
    coupons = CouponCode.objects.filter(profile_id__in=profile_ids)
    coupons.exclude(code="").update(code=Concat(Value("erased:"), Cast("pk", TextField())))
    coupons.update(profile=None, given_to=None, cause=None)


def _suppress(delivery_ids: list[int], reason: str) -> None:
    from delivery.dispatch import states
    from delivery.models import Delivery

    waiting = (
        Delivery.objects.select_for_update(of=("self",))
        .select_related("message")
        .filter(pk__in=delivery_ids, state__in=Delivery.WAITING)
    )
    copies = {delivery.pk: delivery for delivery in waiting}
    states.apply(
        [states.Change(id=pk, state=Delivery.State.SUPPRESSED, reason=reason) for pk in copies],
        copies,
        timezone.now(),
    )
