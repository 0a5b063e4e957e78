"""Whether an answer about reports may have changed, found out without making it.

What the log's reader tells, and what reports show by name, is known for sure: where the reader stands, the figures'
generation, goals, names. All other tables are followed by PostgreSQL's own counters of changed rows, which it brings
up to date within ten seconds after a commit: so long an answer may be called unchanged though it is not, never longer.
More changes are noticed than matter: then an answer is made that was known.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from django.apps import apps
from django.db import connection
from django.utils import timezone
from django.utils.translation import get_language

from analytics import projection

APPS = ("crm", "delivery", "campaigns", "analytics")
# What changes all the time, and what no report says anything of.
UNRELATED = frozenset(
    {
        *("crm.auditentry", "crm.alert", "crm.apikey", "crm.accesstoken", "crm.idempotentanswer"),
        *(
            "crm.logcursor",
            "crm.undatedevent",
            "crm.watch",
            "crm.attributewatch",
            "crm.synchint",
            "crm.change",
        ),
        *("crm.upload", "crm.uploadpart", "crm.connection", "delivery.slot", "delivery.account"),
        *("delivery.eventstream", "delivery.streamcall", "delivery.sandboxitem"),
        *("campaigns.segment", "campaigns.webhookhost", "campaigns.webhookcall", "campaigns.flowschedule"),
        *("analytics.savedreport", "analytics.reportrecipient", "analytics.reportmail"),
    }
)
_NOW = """
    SELECT
        (SELECT (txid, seq)::text FROM crm_logcursor WHERE name = %(cursor)s),
        (SELECT xmin::text FROM analytics_rollupstate WHERE id = 1),
        (SELECT string_agg(id || ':' || xmin::text, ',' ORDER BY id) FROM analytics_goal),
        (SELECT md5(string_agg(concat_ws('|', id, slug, name), ',' ORDER BY id)) FROM delivery_message),
        (SELECT md5(string_agg(concat_ws('|', id, slug, name, state, live_version_id), ',' ORDER BY id))
            FROM campaigns_flow),
        (SELECT md5(string_agg(concat_ws('|', id, name, state), ',' ORDER BY id)) FROM campaigns_broadcast),
        (SELECT md5(string_agg(concat_ws('|', id, slug, name, rule::text), ',' ORDER BY id)) FROM campaigns_segment),
        (SELECT md5(string_agg(concat_ws('|', id, slug, name, state, interval_minutes), ',' ORDER BY id))
            FROM crm_connection),
        (SELECT max(id) FROM delivery_delivery),
        (SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
                + pg_stat_get_tuples_deleted(oid))
            FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
                AND relname = ANY(%(tables)s))
"""


def etag(*asked: Any) -> str:
    """The entity tag (RFC 9110, weak) of an answer to what is asked, as things are; two queries at most.

    Args:
        asked: JSON-able; all that the answer depends on besides the data, the day and the language.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NOW, {"cursor": projection.CURSOR, "tables": _tables()})
        found = [str(value) for value in cursor.fetchone()]
    told = msgspec.json.encode([asked, str(timezone.localdate()), get_language(), code(), found])
    return f'W/"{hashlib.sha256(told).hexdigest()[:32]}"'


@cache
def code() -> str:
    """A digest of what makes reports, which another version of this product has another of."""
    return _digest(
        path for name in APPS for path in sorted(Path(apps.get_app_config(name).path).rglob("*.py"))
    )


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@cache
def _tables() -> list[str]:
    return sorted(
        model._meta.db_table
        for name in APPS
        for model in apps.get_app_config(name).get_models(include_auto_created=True)
        if model._meta.managed and model._meta.label_lower not in UNRELATED
    )
