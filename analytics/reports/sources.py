"""What people are worth by where they came from: the CRM whose record they have, else who told of them first."""

from datetime import datetime
from decimal import Decimal

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports import kept, money
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period
from crm.models import ListImport

DEFINITIONS = {
    "people": _(
        "People with a record in this CRM, those in several count for each; of all others, those of whom this one told"
        " first."
    ),
    "new": _("Those of them who came in the period."),
    "email": _("Those of the people with an email address; what can't be one is never taken."),
    "phone": _("Those of the people with a phone number; what can't be one is never taken."),
    "consent": _("Those of the people whose yes to at least one channel holds."),
    "sent": _("Messages that were sent to them in the period."),
    "opened": _("Those of the messages that they opened."),
    "clicked": _("Those of the messages whose links they followed."),
    "bounced": _("Those of the messages that came back."),
    "conversions": _(
        "Goal events in the period that are credited to a message to them, whenever it was sent."
    ),
    "earned": _("The amounts of these goal events, in the account's currency as far as there are rates."),
    "rejected": _("Records that could not be taken, and wait to be looked at."),
    "duplicates": _("Pairs of people that this one named together, and that nobody has decided about."),
    "runs": _("Syncs that began in the period."),
    "failed": _("Those of the syncs that ended with an error."),
    "read": _("Records that these syncs read."),
    "created": _("People that these syncs brought."),
    "updated": _("Records of these syncs that changed somebody."),
    "refused": _("Records of these syncs that could not be taken at first."),
    "merged": _("People that these syncs found to be one."),
    "synced_at": _("When a sync ended well last."),
    "age": _("From then until now."),
    "rows": _("Rows of the file that were read."),
    "taken": _("Those of the rows that could be taken."),
    "changed": _("Those of the rows that told something new."),
    "invalid": _("Those of the rows that could not be taken."),
}
RATES = {
    **dict.fromkeys(("email", "phone", "consent"), "people"),
    **dict.fromkeys(("opened", "clicked", "bounced"), "sent"),
}


class Line(msgspec.Struct):
    """One source. `crm` is the number of a CRM connection, None for those of whom somebody else told."""

    slug: str
    name: str = ""
    crm: int | None = None
    people: int = 0
    new: int = 0
    email: int = 0
    phone: int = 0
    consent: int = 0
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    bounced: int = 0
    conversions: float = 0
    earned: dict[str, Decimal] = {}
    rejected: int = 0
    duplicates: int = 0

    def rate(self, name: str) -> float | None:
        """The named count of RATES as a share, None where there is nothing."""
        whole = getattr(self, RATES[name])
        return getattr(self, name) / whole if whole else None


class Reject(msgspec.Struct, frozen=True):
    """Why records of a CRM wait: how many, and since when the oldest does."""

    crm: int
    name: str
    object: str
    code: str
    field: str
    number: int
    since: datetime


class Runs(msgspec.Struct, frozen=True):
    """The syncs of a CRM in a period, added up, and how it stands now."""

    crm: int
    name: str
    paused: bool
    minutes: int
    runs: int
    failed: int
    read: int
    created: int
    updated: int
    refused: int
    merged: int
    synced_at: datetime | None


class Imported(msgspec.Struct, frozen=True):
    """A file of consents or of addresses not to write to, and what became of its rows."""

    number: int
    name: str
    kind: str
    rows: int
    taken: int
    changed: int
    refused: int
    at: datetime


# Of people without a record in any CRM, who told something about them first.
_SOURCE = """
    coalesce((SELECT split_part(told.value ->> 0, ':', 1) FROM jsonb_each(p.sources) told
        ORDER BY told.value ->> 1, told.key LIMIT 1), '')
"""
_LINES = f"""
    WITH known AS (
        SELECT DISTINCT i.profile_id, split_part(i.kind, ':', 1) AS slug FROM crm_identifier i WHERE i.kind LIKE '%%:%%'
    ), agreed AS (
        SELECT DISTINCT a.profile_id FROM crm_consent a WHERE a.kind = 'channel' AND a.state = 'subscribed'
    ), people AS (
        SELECT p.id, CASE WHEN k.slug IS NULL THEN {_SOURCE} ELSE k.slug END AS slug, k.slug IS NOT NULL AS crm,
            coalesce(p.email, '') <> '' AS email, coalesce(p.phone, '') <> '' AS phone,
            a.profile_id IS NOT NULL AS consent, p.created_at >= %(since)s AND p.created_at < %(until)s AS new
        FROM crm_profile p LEFT JOIN known k ON k.profile_id = p.id LEFT JOIN agreed a ON a.profile_id = p.id
    ), sent AS (
        SELECT d.profile_id, count(*) AS sent, count(g.opened_at) AS opened, count(g.clicked_at) AS clicked,
            count(g.bounced_at) AS bounced
        FROM analytics_engagement g JOIN delivery_delivery d ON d.id = g.delivery_id
        JOIN analytics_series s ON s.id = g.series_id
        WHERE g.sent_at >= %(since)s AND g.sent_at < %(until)s AND {{of_series}} GROUP BY 1
    )
    SELECT p.slug, p.crm, count(*), count(*) FILTER (WHERE new), count(*) FILTER (WHERE email),
        count(*) FILTER (WHERE phone), count(*) FILTER (WHERE consent),
        {", ".join(f"coalesce(sum(s.{name}), 0)::bigint" for name in ("sent", "opened", "clicked", "bounced"))}
    FROM people p LEFT JOIN sent s ON s.profile_id = p.id GROUP BY 1, 2
"""
_EARNED = f"""
    WITH earned AS (
        SELECT d.profile_id, coalesce(nullif(c.account_currency, ''), c.currency) AS currency, sum(c.share) AS share,
            sum(coalesce(c.account_value, c.value)) AS value
        FROM analytics_credit c JOIN analytics_series s ON s.id = c.series_id
        JOIN delivery_delivery d ON d.id = c.delivery_id
        WHERE c.goal_id = {money.GOAL} AND c.model = {money.MODEL}
            AND c.occurred_at >= %(since)s AND c.occurred_at < %(until)s AND {{of_series}} GROUP BY 1, 2
    )
    SELECT CASE WHEN k.slug IS NULL THEN {_SOURCE} ELSE k.slug END, k.slug IS NOT NULL, e.currency, sum(e.share),
        sum(e.value)
    FROM earned e JOIN crm_profile p ON p.id = e.profile_id LEFT JOIN LATERAL (
        SELECT DISTINCT split_part(i.kind, ':', 1) AS slug FROM crm_identifier i
        WHERE i.profile_id = e.profile_id AND i.kind LIKE '%%:%%'
    ) k ON true GROUP BY 1, 2, 3
"""
_CRMS = """
    SELECT c.slug, c.id, c.name, (SELECT count(*) FROM crm_syncreject r WHERE r.connection_id = c.id
        AND r.resolved_at IS NULL)
    FROM crm_connection c WHERE c.state <> 'draft'
"""
_DUPLICATES = """
    SELECT split_part(source, ':', 1), count(*) FROM crm_identityconflict WHERE state = 'open' GROUP BY 1
"""


def report(period: Period, filters: Filters = EVERYTHING) -> list[Line]:
    """Each source, the one with most people first; four queries.

    It looks at every delivery of the period, so where that takes long the answer is kept for a while.

    Args:
        filters: those on messages, the goal and the model.
    """
    return kept.kept("sources", (period, filters), lambda: _report(period, filters))


def _report(period: Period, filters: Filters) -> list[Line]:
    of_series, values = filters.of_series()
    since, until = period.bounds()
    values |= {"since": since, "until": until, "goal": filters.goal, "model": filters.model}
    lines: dict[tuple[str, bool], Line] = {}

    def line(slug: str, crm: bool) -> Line:
        return lines.setdefault((slug, crm), Line(slug, earned={}))

    with connection.cursor() as cursor:
        cursor.execute(_LINES.format(of_series=of_series), values)
        names = Line.__struct_fields__[3:12]
        for slug, crm, *numbers in cursor.fetchall():
            for name, number in zip(names, numbers, strict=True):
                setattr(line(slug, crm), name, number)
        cursor.execute(_EARNED.format(of_series=of_series), values)
        for slug, crm, currency, share, amount in cursor.fetchall():
            one = line(slug, crm)
            one.conversions = money.whole(Decimal(str(one.conversions)) + share)
            if amount:
                one.earned[currency] = amount
        cursor.execute(_CRMS)
        for slug, number, name, rejected in cursor.fetchall():
            one = line(slug, True)
            one.crm, one.name, one.rejected = number, name, rejected
        cursor.execute(_DUPLICATES)
        for slug, number in cursor.fetchall():
            line(slug, (slug, True) in lines).duplicates = number
    return sorted(lines.values(), key=lambda one: (-one.people, one.slug, one.crm is None))


def rejects() -> list[Reject]:
    """Why records of CRMs wait, the most frequent reason first; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, c.name, r.object, r.code, r.field, count(*), min(r.first_seen)
            FROM crm_syncreject r JOIN crm_connection c ON c.id = r.connection_id
            WHERE r.resolved_at IS NULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 2, 3, 4, 5
            """
        )
        return [Reject(*row) for row in cursor.fetchall()]


def runs(period: Period) -> list[Runs]:
    """How the syncs of each CRM went; one query."""
    since, until = period.bounds()
    sums = ", ".join(
        f"coalesce(sum(r.{name}), 0)::bigint" for name in ("read", "created", "updated", "rejected", "merged")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT c.id, c.name, c.state = 'paused', c.interval_minutes, count(r.id),
                count(*) FILTER (WHERE r.state = 'failed'), {sums}, (
                    SELECT max(l.finished_at) FROM crm_syncrun l
                    WHERE l.connection_id = c.id AND l.state = 'succeeded')
            FROM crm_connection c LEFT JOIN crm_syncrun r ON r.connection_id = c.id
                AND r.queued_at >= %(since)s AND r.queued_at < %(until)s
            WHERE c.state <> 'draft' GROUP BY c.id ORDER BY c.name
            """,
            {"since": since, "until": until},
        )
        return [Runs(*row) for row in cursor.fetchall()]


def imports(period: Period, limit: int = 50) -> list[Imported]:
    """The files that were read in the period, the latest first; one query."""
    since, until = period.bounds()
    rows = ListImport.objects.filter(created_at__gte=since, created_at__lt=until).order_by(
        "-created_at", "-pk"
    )
    fields = ("pk", "name", "kind", "line", "taken", "changed", "rejected", "created_at")
    return [Imported(*row) for row in rows.values_list(*fields)[:limit]]
