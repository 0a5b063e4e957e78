"""One person's story: what they did, what we did or decided not to do, and why."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reports import timeline_words as words
from analytics.reports.timeline_reasons import Reasons, moment
from analytics.reports.timeline_words import Names
from analytics.written import money
from campaigns.models import Decision
from campaigns.segments.words import because, capital
from crm.models import Event
from delivery.admin.reasons import explain
from delivery.models import Delivery

PAGE = 50
_DECISION, _EVENT, _DELIVERY = 0, 1, 2  # of things at one moment, in the order in which they are told
WAITING = (Delivery.State.QUEUED, Delivery.State.DEFERRED, Delivery.State.SENDING)
REFUSALS = ("not_entered", "error")
EXPLAINED = ("message_sent", "message_suppressed")  # of these the reasons are told
ALL = "all"


class Group(msgspec.Struct, frozen=True):
    """A part of the story that can be looked at alone.

    Args:
        events: the names that belong to it; None for whatever the person did.
        decisions: kinds of flows' decisions.
        deliveries: states of messages on their way.
    """

    label: Any
    icon: str
    events: tuple[str, ...] | None = ()
    decisions: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()


def _named(*beginnings: str) -> tuple[str, ...]:
    return tuple(name for name in words.OURS if name.startswith(beginnings))


GROUPS = {
    ALL: Group(gettext_lazy("Everything"), "timeline", (), (*REFUSALS, "split:go_on"), WAITING),
    "did": Group(gettext_lazy("What they did"), "person", None),
    "messages": Group(gettext_lazy("Messages"), "send", _named("message_"), (), WAITING),
    "refused": Group(
        gettext_lazy("Decided not to"),
        "block",
        ("message_suppressed", "message_failed"),
        REFUSALS,
        (Delivery.State.DEFERRED,),
    ),
    "flows": Group(
        gettext_lazy("Flows and segments"),
        "account_tree",
        _named("flow_", "segment_", "back_in_stock", "price_dropped"),
        (*REFUSALS, "split:go_on", "wait:wait"),
    ),
    "consent": Group(gettext_lazy("Consent"), "how_to_reg", _named("consent_", "push_")),
    "profile": Group(gettext_lazy("Identity"), "badge", (*_named("profile_", "attribute_"), "identified")),
}


_NOT_DONE = [name for name in words.OURS if name not in words.THEIR_OWN]


class Entry(msgspec.Struct):
    """One line of the story. `by` is "person" or "us"; `why` are sentences; `facts` name and value pairs."""

    at: datetime
    icon: str
    title: str
    by: str
    name: str
    why: list[str] = []
    facts: list[tuple[str, str]] = []
    link: str = ""


class Page(msgspec.Struct):
    """Entries, the latest first; `before` asks for the next page, None at the end."""

    entries: list[Entry]
    before: str | None


def timeline(profile_id: int, before: str | None = None, limit: int = PAGE, only: str = ALL) -> Page:
    """Read a page of the person's story in a fixed number of queries.

    Args:
        before: `Page.before` of the page above.
        only: one of GROUPS.

    Raises:
        ValueError: `before` is not one of ours.
        KeyError: there is no such group.
    """
    group = GROUPS[only]
    last = _Place.read(before) if before else None
    found: list[tuple[_Place, Event | Decision | Delivery]] = [
        *((_Place(row.occurred_at, _EVENT, row.seq), row) for row in _events(profile_id, only, last, limit)),
        *((_Place(row.at, _DECISION, row.pk), row) for row in _decisions(profile_id, group, last, limit)),
        *(
            (_Place(row.queued_at, _DELIVERY, row.pk), row)
            for row in _deliveries(profile_id, group, last, limit)
        ),
    ]
    found.sort(key=lambda row: row[0], reverse=True)
    shown = found[:limit]
    logged = [row for _place, row in shown if isinstance(row, Event)]
    names = Names(logged)
    reasons = Reasons([event for event in logged if event.name in EXPLAINED], profile_id)
    entries = []
    for _place, row in shown:
        if isinstance(row, Event):
            entries.append(_entry(row, names, reasons))
        else:
            entries.append(_decided(row) if isinstance(row, Decision) else _on_its_way(row))
    return Page(entries, str(shown[-1][0]) if len(found) > limit else None)


class _Place(NamedTuple):
    """Where a row stands in the story: things of one moment are told apart by what they are and their number."""

    at: datetime
    kind: int
    number: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.kind}~{self.number}"

    @classmethod
    def read(cls, text: str) -> "_Place":
        at, kind, number = text.split("~")
        place = cls(datetime.fromisoformat(at), int(kind), int(number))
        if place.at.tzinfo is None or not 0 <= place.number < 2**63:
            raise ValueError(text)
        return place

    def after(self, kind: int, time: str, number: str) -> Q:
        """Rows of `kind` that come after this place, going back in time."""
        earlier = Q(**{f"{time}__lt": self.at})
        if kind > self.kind:
            return earlier
        if kind < self.kind:
            return Q(**{f"{time}__lte": self.at})
        return earlier | Q(**{time: self.at, f"{number}__lt": self.number})


def _events(profile_id: int, only: str, last: _Place | None, limit: int) -> QuerySet[Event]:
    events = Event.objects.filter(profile_id=profile_id)
    names = GROUPS[only].events
    if only != ALL:
        events = events.exclude(name__in=_NOT_DONE) if names is None else events.filter(name__in=names)
    if last:
        events = events.filter(last.after(_EVENT, "occurred_at", "seq"))
    return events.order_by("-occurred_at", "-seq")[: limit + 1]


def _decisions(profile_id: int, group: Group, last: _Place | None, limit: int) -> Collection[Decision]:
    if not group.decisions:
        return []
    decisions = Decision.objects.filter(profile_id=profile_id, kind__in=group.decisions)
    if last:
        decisions = decisions.filter(last.after(_DECISION, "at", "pk"))
    return decisions.select_related("flow").order_by("-at", "-pk")[: limit + 1]


def _deliveries(profile_id: int, group: Group, last: _Place | None, limit: int) -> Collection[Delivery]:
    if not group.deliveries:
        return []
    deliveries = Delivery.objects.filter(profile_id=profile_id, state__in=group.deliveries)
    if last:
        deliveries = deliveries.filter(last.after(_DELIVERY, "queued_at", "pk"))
    return deliveries.select_related("message").order_by("-queued_at", "-pk")[: limit + 1]


def _entry(event: Event, names: Names, reasons: Reasons) -> Entry:
    properties = event.properties
    if event.name not in words.OURS:
        icon, title = words.theirs(event, names)
        return Entry(event.occurred_at, icon, title, "person", event.name, facts=words.facts(properties))
    icon, title = words.ours(event, names)
    why = reasons.of(event) if event.name in EXPLAINED else []
    reason = properties.get("reason")
    if reason in words.CARES:
        why = [str(words.CARES[reason])]
    elif event.name == "profile_merged" and reason in words.JOINED:
        why = [str(words.JOINED[reason])]
    elif event.name in ("segment_entered", "segment_left") and properties.get("cause"):
        why = [_("%s.") % capital(because(properties["cause"], properties.get("event", "")))]
    elif reason and not why:
        why = [explain(reason) if event.name == "message_failed" else _("Reason: %s.") % reason]
    link = ""
    if event.name.startswith("message_") and properties.get("delivery"):
        link = reverse("admin:delivery_delivery_change", args=[properties["delivery"]])
    by = "person" if event.name in words.THEIR_OWN else "us"
    return Entry(event.occurred_at, icon, title, by, event.name, why, _decisive(event), link)


def _decisive(event: Event) -> list[tuple[str, str]]:
    """The facts of our own events that are worth a look."""
    properties = event.properties
    if event.name == "message_converted" and properties.get("value") is not None:
        return [(_("Amount"), money(properties["value"], properties.get("currency", "")))]
    if event.name == "message_suppressed" and properties.get("reason"):
        return [(_("Because"), explain(properties["reason"]))]
    if event.name == "consent_changed" and properties.get("source"):
        return [(_("Told by"), str(properties["source"]))]
    if event.name == "entered_place" and isinstance(properties.get("distance"), int | float):
        return [(_("From its centre"), _("%d m") % properties["distance"])]
    if event.name == "attribute_changed":
        shown = dict(words.facts(properties))
        return [(_("Before"), shown.get("from", "–")), (_("Now"), shown.get("to", "–"))]
    return []


def _decided(decision: Decision) -> Entry:
    flow, detail = decision.flow.name, decision.detail
    icon, why = "do_not_disturb_on", []
    if decision.kind == "not_entered":
        title = _("Did not enter the flow %s") % flow
        if detail.get("event"):
            why.append(_("“%s” would have started it.") % detail["event"])
    elif decision.kind == "split:go_on":
        icon, branch = "alt_route", detail.get("branch_name") or _("others")
        title = _("Took the branch “%(branch)s” in the flow %(flow)s") % {"branch": branch, "flow": flow}
    elif decision.kind == "wait:wait":
        icon, until = "hourglass_top", _until(detail.get("until"))
        title = _("Waits in the flow %(flow)s until %(until)s") % {"flow": flow, "until": until}
    else:
        title = _("Held up in the flow %s") % flow
        if detail.get("until"):
            why.append(_("It is tried again on %s.") % _until(detail["until"]))
    if "reason" in detail:
        why.append(_("Reason: %s.") % detail["reason"])
    return Entry(decision.at, icon, title, "us", decision.kind, why)


def _until(text: str | None) -> str:
    return moment(datetime.fromisoformat(text)) if text else "—"


def _on_its_way(delivery: Delivery) -> Entry:
    name = delivery.message.name
    link = reverse("admin:delivery_delivery_change", args=[delivery.pk])
    if delivery.state == Delivery.State.DEFERRED:
        why = [explain(delivery.reason)] if delivery.reason else []
        why.append(_("It is looked at again on %s.") % moment(delivery.due_at))
        return Entry(
            delivery.queued_at,
            "schedule_send",
            _("Put off: %s") % name,
            "us",
            "message_deferred",
            why,
            link=link,
        )
    why = [_("It is due on %s.") % moment(delivery.due_at)]
    return Entry(
        delivery.queued_at, "outbox", _("Waits to be sent: %s") % name, "us", "message_queued", why, link=link
    )
