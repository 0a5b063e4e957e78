"""What people look at, for benchmarks/reports.py: every report there is, the home, and people behind numbers."""

from collections.abc import Callable
from functools import partial

from analytics.models import Series
from analytics.reporting.query import parse
from analytics.reporting.registry import reports
from analytics.reporting.shapes import Report
from analytics.reports import deliverability, figures, freshness, heat, messages, overview, people, periods
from analytics.reports.filters import EVERYTHING, Filters
from campaigns.models import Segment
from delivery.models import Message

View = Callable[[], object]
# How a broadcast or flow goes on is told by its own table, which is empty here.
WITHOUT = {"broadcast", "flow"}


def views() -> dict[str, View]:
    """A name -> what makes all that the page shows."""
    return {**_figures(), **_people(), **_reports(), **_exact()}


def _figures() -> dict[str, View]:
    wanted = Message.objects.order_by("pk")[0]
    quarter = periods.last(90)
    return {
        **{f"home, {days} days": partial(_home, days) for days in (0, 7, 30, 90)},
        "today by hour": lambda: figures.hours(periods.last(1).last),
        "all messages, 90 days": lambda: figures.by_before("message", quarter),
        "one message, ever": lambda: (
            messages.report(wanted),
            messages.counted("day", periods.EVER, Filters(message=wanted.pk)),
            messages.counted("locale", periods.EVER, Filters(message=wanted.pk)),
        ),
        "one flow's steps": lambda: messages.by_step(1),
        "broadcasts, 90 days": lambda: figures.by_before("broadcast", quarter),
        "channels, 90 days": lambda: figures.by_before("channel", quarter),
        "countries, 90 days": lambda: figures.by_before("country", quarter),
        "one country by day": lambda: figures.by("day", quarter, Filters(country="PL")),
        "heat map, 90 days": lambda: heat.week(quarter),
        "heat map of a message": lambda: heat.week(quarter, Filters(message=wanted.pk)),
        "heat map of a channel": lambda: heat.week(quarter, Filters(channel="email")),
        "deliverability, 90 days": lambda: deliverability.report(quarter),
    }


def _home(days: int) -> object:
    """All that the home reads; 0 is today by the hour."""
    return overview.home(days=days), freshness.freshness()


def _people() -> dict[str, View]:
    """Pages of people, by numbers that are large and ones that are small."""
    series = Series.objects.order_by("pk")[0]
    month, one = periods.last(30), Filters(message=series.message_id)
    asked: list[tuple[str, Filters, str]] = [
        ("clicks", one, "who clicked one message"),
        ("opened", EVERYTHING, "whose message was opened"),
        ("complained", EVERYTHING, "who complained later"),
        ("complaints", EVERYTHING, "who complained"),
        ("bounces", Filters(channel="sms"), "whose messages by SMS came back"),
        ("unsubscribes", EVERYTHING, "who unsubscribed"),
        ("machine_clicks", one, "machines that clicked one message"),
        ("suppressed", EVERYTHING, "to whom was not sent"),
        ("failed", EVERYTHING, "with whom it failed"),
    ]
    return {f"people {words}": partial(people.page, column, month, of) for column, of, words in asked}


def _reports() -> dict[str, View]:
    """Every report with what its page asks for first, of 90 days where it has days."""
    found: dict[str, View] = {}
    for slug, report in reports().items():
        if report.subject in WITHOUT:
            continue
        params = {} if report.timeless else {"period": "90"}
        if report.subject:
            params[report.subject] = str(Message.objects.order_by("pk")[0].pk)
        found[f"report “{slug}”, 90 days"] = partial(_report, report, params)
    return found


def _report(report: Report, params: dict[str, str]) -> object:
    return report.build(parse(report, params))


def _exact() -> dict[str, View]:
    """What single deliveries have to be looked at for."""
    month = periods.last(30)
    segment = Segment.objects.get(slug="bench").pk
    two = Filters(country="PL", device="phone")
    return {
        "two traits, 30 days (single deliveries)": lambda: figures.compare(month, two),
        "two traits, by day (single deliveries)": lambda: figures.by("day", month, two),
        "a segment, 30 days (single deliveries)": lambda: figures.compare(month, Filters(segment=segment)),
    }
