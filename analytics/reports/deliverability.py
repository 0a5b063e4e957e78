"""Whether messages arrive, by who carries them: mail services, push services, providers."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports import figures
from analytics.reports.definitions import Comparison, Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period
from analytics.reports.sums import total
from crm import masking
from delivery.dispatch.traits import push_service
from delivery.providers.base import Reported

DEFINITIONS = {
    "provider": _(
        "The mail service of the address, where many people use it, the push service, or our provider."
    ),
    "gone": _("Browsers and apps that can no longer receive pushes since a day of the period."),
    "limits": _(
        "Google's and Yahoo's rules for senders (February 2024) want less than 0.1 % of a sender's mail called spam,"
        " and never 0.3 %. For mail that comes back they name no figure; Amazon SES looks into senders from 5 % on and"
        " advises to stay below 2 %. A warning needs at least 200 messages."
    ),
}
ENOUGH = 200  # messages; of fewer, one complaint would be more than any limit
SILENT = frozenset({"gmail.com", "googlemail.com"})  # without a feedback loop for single complaints


class Limit(msgspec.Struct, frozen=True):
    """From which share of what was sent on somebody looks at it; `words` say who."""

    share: float
    words: Any


# Google, "Email sender guidelines", and Yahoo, "Sender best practices", for complaints; Amazon SES, "Reputation
# metrics", for bounces. The gravest first.
LIMITS = {
    "complained": (
        Limit(
            0.003,
            _(
                "From 0.3 % on Gmail and Yahoo sort a sender's mail out as spam or refuse it:"
                " write to fewer people now."
            ),
        ),
        Limit(0.001, _("Gmail and Yahoo want senders to stay below 0.1 %: write to those who still read.")),
    ),
    "bounced": (
        Limit(
            0.05,
            _(
                "From 5 % on mail services and providers look into a sender: find out where these addresses come from."
            ),
        ),
        Limit(0.02, _("Below 2 % is usual: let new addresses be confirmed by a link.")),
    ),
}
MAILED = frozenset({"email"})  # channels that the limits are about
_ADDRESS = re.compile(r"<?[^\s<>]+@[^\s<>]+>?")


class Line(msgspec.Struct):
    """One channel, or one carrier of it. `gone` counts dead subscriptions of the period and of the one before."""

    channel: str
    provider: str
    figures: Comparison
    gone: tuple[int, int] = (0, 0)


class Found(msgspec.Struct):
    """Everything together, by channel and by carrier, those with most messages first."""

    total: Line
    channels: list[Line]
    carriers: list[Line]


class Cause(msgspec.Struct, frozen=True):
    """Why messages ended: `kind` is "hard", "soft", "refused" or "expired", `words` are what was told."""

    kind: str
    words: str
    number: int


class Excess(msgspec.Struct, frozen=True):
    """A limit that a figure of a line has reached."""

    line: Line
    figure: str
    limit: Limit

    @property
    def number(self) -> int:
        return int(getattr(self.line.figures.now, self.figure))

    @property
    def share(self) -> float:
        return self.line.figures.now.rate(self.figure) or 0.0


def report(period: Period, filters: Filters = EVERYTHING) -> Found:
    """What became of what each carried, beside the period before. Dead subscriptions heed channel and provider only.

    Each message has one carrier, so channels and everything are sums.
    """
    carriers = {
        key: Line(key[0], key[1], both) for key, both in figures.by_before("carrier", period, filters).items()
    }
    for key, numbers in _gone(period).items():
        if filters.channel in ("", key[0]) and filters.provider in (None, key[1]):
            line = carriers.setdefault(key, Line(key[0], key[1], Comparison(Figures(), Figures())))
            line.gone = numbers
    channels = [
        _together(name, [line for line in carriers.values() if line.channel == name])
        for name in {line.channel for line in carriers.values()}
    ]
    return Found(_together("", carriers.values()), _sorted(channels), _sorted(carriers.values()))


def causes(period: Period, filters: Filters = EVERYTHING) -> list[Cause]:
    """Why messages did not arrive that ended in the period, the most frequent causes first; addresses are left out."""
    found: dict[tuple[str, str], int] = {}
    for reason, one in figures.by("reason", period, filters).items():
        kind, _colon, told = reason.partition(":")
        lost = "hard" if kind == Reported.BOUNCED else "soft"
        known = kind in (Reported.BOUNCED, Reported.FAILED)
        for name, words, number in (
            (lost, told if known else reason, one.losses),
            ("refused", reason, one.failed),
            ("expired", reason, one.expired),
        ):
            if number:
                key = name, without_addresses(words.strip())
                found[key] = found.get(key, 0) + number
    return [
        Cause(*key, number) for key, number in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def without_addresses(words: str) -> str:
    """What a mail service told, without whom it is about: so the same answers about several people are one."""
    return masking.text(_ADDRESS.sub("…", words))


def excesses(line: Line) -> list[Excess]:
    """Which limits the line has reached: of each figure the gravest."""
    now = line.figures.now
    if line.channel not in MAILED or now.sent < ENOUGH:
        return []
    found = []
    for figure, limits in LIMITS.items():
        reached = next((limit for limit in limits if (now.rate(figure) or 0.0) >= limit.share), None)
        if reached:
            found.append(Excess(line, figure, reached))
    return found


def _sorted(lines: Iterable[Line]) -> list[Line]:
    return sorted(
        lines, key=lambda line: (-line.figures.now.sent, -line.gone[0], line.channel, line.provider)
    )


def _together(channel: str, lines: Iterable[Line]) -> Line:
    found = list(lines)
    both = Comparison(total(line.figures.now for line in found), total(line.figures.before for line in found))
    return Line(channel, "", both, (sum(line.gone[0] for line in found), sum(line.gone[1] for line in found)))


def _gone(period: Period) -> dict[tuple[str, str], tuple[int, int]]:
    """Dead subscriptions by channel and carrier, of the period and of the one before."""
    since, until = period.bounds()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, split_part(endpoint, '/', 3), count(*) FILTER (WHERE changed_at >= %(since)s),
                count(*) FILTER (WHERE changed_at < %(since)s)
            FROM crm_device
            WHERE state = 'gone' AND changed_at >= %(early)s AND changed_at < %(until)s GROUP BY 1, 2
            """,
            {"early": period.before.bounds()[0], "since": since, "until": until},
        )
        rows = cursor.fetchall()
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for kind, host, now, before in rows:
        key = ("webpush", push_service(host)) if kind == "webpush" else ("push", kind)
        known = found.get(key, (0, 0))
        found[key] = known[0] + now, known[1] + before
    return found
