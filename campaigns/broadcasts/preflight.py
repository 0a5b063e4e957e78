"""What to know before a broadcast is launched: whom it reaches, whom not and why, and what may be wrong with it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import audience
from campaigns.broadcasts import lifecycle, routes, wording
from campaigns.models import Broadcast
from campaigns.segments import compiler
from campaigns.segments.limits import TooSlow, fetch
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql
from crm.rules.words import language_names
from delivery import accounts, channels, content
from delivery.models import MessageContent

TIMEOUT_MS = 3_000
TODAY = timedelta(hours=24)
SHOWN = 5  # names, links or words in one line


class Preflight(msgspec.Struct):
    """`problem` keeps it from being launched; `warnings` do not. `reach` is None where counting took too long.

    `duration` is how long it takes at its pace, None where it has none; `elsewhere` are links that were not followed.
    `cost` is what it comes to at most, where the sending account tells what a part costs.
    """

    problem: str = ""
    reach: audience.Reach | None = None
    warnings: list[str] = []
    elsewhere: list[str] = []
    locales: list[str] = []
    duration: timedelta | None = None
    preview: dict[str, Any] = {}
    parts: int | None = None
    cost: Decimal | None = None
    currency: str = ""

    @property
    def typed(self) -> bool:
        """Whether the number of people is to be typed: if there are many, or nobody could count them."""
        return not self.problem and (self.reach is None or self.reach.size > settings.NUDGE_BROADCAST_CONFIRM)


def check(broadcast: Broadcast, now: datetime | None = None) -> Preflight:
    """Look at everything; each look at the audience takes a few seconds at most and is left out if it takes longer."""
    now = now or timezone.now()
    found = Preflight()
    try:
        if broadcast.state != Broadcast.State.DRAFT:
            raise lifecycle.LaunchError(_("This broadcast was launched already; it can't be sent twice."))
        lifecycle.check(broadcast, now)
    except RuleError as error:
        found.problem = _("The segment's rule has a mistake: %s") % error
        return found
    except lifecycle.LaunchError as error:
        found.problem = str(error)
        return found
    kinds = routes.written(broadcast)
    rows = list(
        MessageContent.objects.filter(message=broadcast.message_id, channel__in=kinds).order_by(
            "locale", "variant"
        )
    )
    contents = [row.content for row in rows]
    found.preview = contents[0]
    found.locales = sorted({row.locale for row in rows if row.locale})
    found.parts = _parts(rows)
    try:
        found.reach = audience.reach(broadcast, now)
    except TooSlow:
        found.warnings.append(_("Counting the people took too long. The launch works all the same."))
    _price(broadcast, found)
    if broadcast.per_minute and found.reach is not None:
        found.duration = timedelta(minutes=-(-found.reach.likely // broadcast.per_minute))
    _words(contents, found)
    rule = routes.audience_rule(broadcast)
    people = compiler.ids(rule, compiler.query(rule, now))
    for look in (_translations, _unknown, _others):
        try:
            found.warnings += look(broadcast, rows, people, now)
        except TooSlow:
            continue
    return found


def _words(contents: Sequence[Any], found: Preflight) -> None:
    broken, found.elsewhere = wording.links(contents)
    if broken:
        found.warnings.append(_("These links can't work: %s") % _some(broken))
    if words := wording.spam_words(contents):
        found.warnings.append(_("Filters and people may take these words for spam: %s") % _some(words))


def _parts(rows: Sequence[MessageContent]) -> int | None:
    """The most parts that a text is sent in, where a channel counts them (as SMS are paid for); None elsewhere."""
    numbers = [
        count(row.content)
        for row in rows
        if (count := getattr(channels.everything().get(row.channel), "parts", None)) is not None
    ]
    return max(numbers, default=None)


def _price(broadcast: Broadcast, found: Preflight) -> None:
    """What the texts cost if everybody who can be reached gets the longest of them."""
    if not found.parts or found.reach is None or broadcast.channel not in channels.everything():
        return
    account = accounts.route(broadcast.channel, broadcast.message.exempt)
    if account is not None and account.cost_per_part:
        found.cost = account.cost_per_part * found.parts * found.reach.reachable
        found.currency = account.currency


def _translations(
    broadcast: Broadcast, rows: Sequence[MessageContent], people: Sql, now: datetime
) -> list[str]:
    statement = sql(
        "SELECT coalesce(p.language, ''), count(*) FROM ({}) AS a JOIN crm_profile p ON p.id = a.id"
        " GROUP BY 1 ORDER BY 2 DESC",
        people,
    )
    written = {row.locale for row in rows}
    nothing: Counter[str] = Counter()
    default: Counter[str] = Counter()
    for language, number in fetch(statement, TIMEOUT_MS):
        best = content.best_locale(written, language)
        if best is None:
            nothing[_language(language)] += number
        elif not best and language and len(written) > 1 and not content.at_home(language):
            default[_language(language)] += number
    found = []
    if nothing:
        number = sum(nothing.values())
        words = ngettext(
            "%(number)d person speaks a language without a text and gets nothing: %(languages)s",
            "%(number)d people speak a language without a text and get nothing: %(languages)s",
            number,
        )
        found.append(words % {"number": number, "languages": _some(list(nothing))})
    if default:
        number = sum(default.values())
        words = ngettext(
            "%(number)d person gets the text for everybody, as there is none in their language: %(languages)s",
            "%(number)d people get the text for everybody, as there is none in their language: %(languages)s",
            number,
        )
        found.append(words % {"number": number, "languages": _some(list(default))})
    return found


def _language(code: str) -> str:
    """A language by its name, however it is spoken in one country."""
    if not code:
        return _("unknown")
    first = code.replace("_", "-").partition("-")[0].lower()
    return language_names().get(first, code)


def _unknown(broadcast: Broadcast, rows: Sequence[MessageContent], people: Sql, now: datetime) -> list[str]:
    names = wording.without_default([row.content for row in rows])
    if not names:
        return []
    empty = [
        sql("coalesce(p.attributes ->> {}, '') = ''", name.removeprefix("attributes."))
        if name.startswith("attributes.")
        else Sql(f"coalesce(p.{name}::text, '') = ''")  # one of content.people.FIELDS
        for name in names
    ]
    counts = Sql(
        ", ".join(f"count(*) FILTER (WHERE {each.text})" for each in empty),
        tuple(value for each in empty for value in each.params),
    )
    statement = sql("SELECT {} FROM ({}) AS a JOIN crm_profile p ON p.id = a.id", counts, people)
    [numbers] = fetch(statement, TIMEOUT_MS)
    words = _("%(number)d people have no “%(name)s”, and the text has no default for it.")
    return [
        words % {"number": number, "name": name}
        for name, number in zip(names, numbers, strict=True)
        if number
    ]


def _others(broadcast: Broadcast, rows: Sequence[MessageContent], people: Sql, now: datetime) -> list[str]:
    """Who gets something of another broadcast today."""
    busy = Broadcast.objects.filter(started_at__gte=now - TODAY).exclude(pk=broadcast.pk)
    others = list(busy.exclude(state=Broadcast.State.CANCELLED).values_list("pk", flat=True))
    if not others:
        return []
    statement = sql(
        "SELECT count(*) FROM ({}) AS a WHERE EXISTS (SELECT FROM delivery_delivery d WHERE d.profile_id = a.id"
        " AND d.origin_type = 'broadcast' AND d.origin_id = ANY({}))",
        people,
        others,
    )
    [(number,)] = fetch(statement, TIMEOUT_MS)
    words = ngettext(
        "%d person gets another broadcast today.", "%d people get another broadcast today.", number
    )
    return [words % number] if number else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
