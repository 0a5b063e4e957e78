"""One person's story: what they did, what we did, and why."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db.models import Q
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.written import money
from campaigns.models import Broadcast, Decision, Flow, Segment
from crm.models import Consent, Event
from delivery.models import Delivery, Message

PAGE = 50
_DECISION, _EVENT = 0, 1  # of things at one moment, what happened comes before what we made of it

# Event name -> icon and title. Everything else is something the person did, shown by its own name.
OURS = {
    "message_sent": ("send", gettext_lazy("Sent: %(message)s")),
    "message_delivered": ("mark_chat_read", gettext_lazy("Shown on the device: %(message)s")),
    "message_opened": ("drafts", gettext_lazy("Opened: %(message)s")),
    "message_clicked": ("ads_click", gettext_lazy("Clicked: %(message)s")),
    "message_dismissed": ("notifications_off", gettext_lazy("Swiped away: %(message)s")),
    "message_converted": ("paid", gettext_lazy("Goal reached after: %(message)s")),
    "message_suppressed": ("block", gettext_lazy("Not sent: %(message)s")),
    "message_failed": ("error", gettext_lazy("Could not be sent: %(message)s")),
    "flow_entered": ("login", gettext_lazy("Entered the flow %(flow)s")),
    "flow_completed": ("task_alt", gettext_lazy("Completed the flow %(flow)s")),
    "flow_exited": ("logout", gettext_lazy("Left the flow %(flow)s")),
    "segment_entered": ("filter_alt", gettext_lazy("Entered the segment %(segment)s")),
    "segment_left": ("filter_alt_off", gettext_lazy("Left the segment %(segment)s")),
    "push_subscribed": ("notifications_active", gettext_lazy("Subscribed a browser to push")),
    "push_unsubscribed": ("notifications_off", gettext_lazy("A browser can no longer receive push")),
    "consent_changed": ("how_to_reg", gettext_lazy("Consent for %(key)s: %(state)s")),
    "profile_merged": ("merge", gettext_lazy("Merged with visitor %(merged)s")),
}


# Of these the reasons are told.
EXPLAINED = ("message_sent", "message_suppressed")


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


def timeline(profile_id: int, before: str | None = None, limit: int = PAGE) -> Page:
    """Read a page of the person's story in a fixed number of queries.

    Args:
        before: `Page.before` of the page above.

    Raises:
        ValueError: `before` is not one of ours.
    """
    events = Event.objects.filter(profile_id=profile_id)
    decisions = Decision.objects.filter(profile_id=profile_id, kind__in=["not_entered", "error"])
    if before:
        last = _Place.read(before)
        events = events.filter(last.after(_EVENT, "occurred_at", "seq"))
        decisions = decisions.filter(last.after(_DECISION, "at", "pk"))
    found: list[tuple[_Place, Event | Decision]] = [
        *(
            (_Place(event.occurred_at, _EVENT, event.seq), event)
            for event in events.order_by("-occurred_at", "-seq")[: limit + 1]
        ),
        *(
            (_Place(decision.at, _DECISION, decision.pk), decision)
            for decision in decisions.select_related("flow").order_by("-at", "-pk")[: limit + 1]
        ),
    ]
    found.sort(key=lambda row: row[0], reverse=True)
    shown = found[:limit]
    logged = [row for _place, row in shown if isinstance(row, Event)]
    names = _Names(logged)
    reasons = _Reasons([event for event in logged if event.name in EXPLAINED], profile_id)
    entries = [
        _entry(row, names, reasons) if isinstance(row, Event) else _refusal(row) for _place, row in shown
    ]
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


class _Names:
    """The human names of what events mention by short name."""

    def __init__(self, events: Sequence[Event]):
        def mentioned(key: str) -> set[Any]:
            return {event.properties[key] for event in events if isinstance(event.properties.get(key), str)}

        self.by_key = {
            key: dict(model.objects.filter(slug__in=slugs).values_list("slug", "name")) if slugs else {}
            for key, model in (("message", Message), ("flow", Flow), ("segment", Segment))
            for slugs in [mentioned(key)]
        }

    def of(self, properties: dict) -> dict:
        return {
            key: self.by_key.get(key, {}).get(value, value) if isinstance(value, str) else value
            for key, value in properties.items()
        }


class _Reasons:
    """Why messages were, or were not, sent to the person."""

    def __init__(self, events: Sequence[Event], profile_id: int):
        ids = [event.properties.get("delivery") for event in events]
        self.deliveries = {
            delivery.pk: delivery
            for delivery in Delivery.objects.filter(pk__in=ids).select_related("message")
        }
        runs, flows, broadcasts = set(), set(), set()
        for delivery in self.deliveries.values():
            if delivery.origin_type == Delivery.Origin.FLOW:
                runs.add(_run_of(delivery))
                flows.add(delivery.origin_id)
            elif delivery.origin_type == Delivery.Origin.BROADCAST:
                broadcasts.add(delivery.origin_id)
        self.flows = Flow.objects.in_bulk(flows)
        self.broadcasts = Broadcast.objects.select_related("segment").in_bulk(broadcasts)
        self.path: dict[int, list[Decision]] = {}
        for decision in Decision.objects.filter(enrollment_id__in=runs).order_by("pk"):
            self.path.setdefault(decision.enrollment_id or 0, []).append(decision)
        self.consent = {
            consent.key: consent
            for consent in Consent.objects.filter(profile_id=profile_id, kind=Consent.Kind.CHANNEL)
        }

    def of(self, event: Event) -> list[str]:
        delivery = self.deliveries.get(event.properties.get("delivery") or 0)
        if delivery is None:
            return []
        sentences = self._origin(delivery)
        if event.name == "message_suppressed":
            return [*sentences, _("It was not sent, because: %s.") % event.properties.get("reason", "")]
        consent = self.consent.get(delivery.channel)
        if consent and consent.state == Consent.State.SUBSCRIBED and consent.changed_at <= event.occurred_at:
            sentences.append(
                _("They agreed to this channel on %(when)s (%(source)s).")
                % {"when": _moment(consent.changed_at), "source": consent.source}
            )
        return sentences

    def _origin(self, delivery: Delivery) -> list[str]:
        flow = self.flows.get(delivery.origin_id or 0)
        broadcast = self.broadcasts.get(delivery.origin_id or 0)
        if delivery.origin_type == Delivery.Origin.FLOW and flow:
            sentences = []
            for decision in self.path.get(_run_of(delivery), []):
                if sentence := _decision_sentence(decision, flow.name):
                    sentences.append(sentence)
                if decision.step == delivery.origin_step and decision.kind == "message:go_on":
                    break  # what came after the message is no reason for it
            return sentences
        if delivery.origin_type == Delivery.Origin.BROADCAST and broadcast:
            return [
                _("They were in the segment “%(segment)s” when the broadcast “%(broadcast)s” was launched.")
                % {"segment": broadcast.segment.name, "broadcast": broadcast.name}
            ]
        if delivery.origin_type == Delivery.Origin.TEST:
            return [_("Somebody sent it as a test.")]
        return [_("It was asked for over the API.")]


def _run_of(delivery: Delivery) -> int:
    """The number of the enrollment that asked for a flow's delivery; its cause is "flow:<enrollment>:<step>"."""
    _flow, _separator, rest = delivery.cause.partition(":")
    number = rest.partition(":")[0]
    return int(number) if number.isdecimal() else 0


def _decision_sentence(decision: Decision, flow: str) -> str:
    detail = decision.detail
    if decision.kind == "entered":
        return _("They entered the flow “%(flow)s” by “%(event)s” on %(when)s.") % {
            "flow": flow,
            "event": detail.get("event", ""),
            "when": _moment(decision.at),
        }
    if decision.kind == "wait:go_on":
        return _("They waited until %s.") % _moment(datetime.fromisoformat(detail["waited_until"]))
    if decision.kind == "split:go_on":
        return _("They took the branch “%s”.") % detail.get("branch_name", "")
    if decision.kind == "message:go_on":
        return _("The flow put the message into the outbox on %s.") % _moment(decision.at)
    return ""


def _entry(event: Event, names: _Names, reasons: _Reasons) -> Entry:
    known = OURS.get(event.name)
    properties = names.of(event.properties)
    if known is None:
        return Entry(
            event.occurred_at, "bolt", event.name, "person", event.name, facts=_facts(event.properties)
        )
    icon, title = known
    why = reasons.of(event) if event.name in EXPLAINED else []
    reason = event.properties.get("reason")
    if reason and not why:
        why = [_("Reason: %s.") % reason]
    link = ""
    if event.name.startswith("message_") and event.properties.get("delivery"):
        link = reverse("admin:delivery_delivery_change", args=[event.properties["delivery"]])
    return Entry(
        event.occurred_at, icon, _fill(str(title), properties), "us", event.name, why, _goal(event), link
    )


def _refusal(decision: Decision) -> Entry:
    title = (
        _("Did not enter the flow %s") if decision.kind == "not_entered" else _("Held up in the flow %s")
    ) % decision.flow.name
    detail = decision.detail
    why = [_("Reason: %s.") % detail["reason"]] if "reason" in detail else []
    return Entry(decision.at, "do_not_disturb_on", title, "us", decision.kind, why)


def _goal(event: Event) -> list[tuple[str, str]]:
    if event.name != "message_converted":
        return []
    value, currency = event.properties.get("value"), event.properties.get("currency", "")
    return [(_("Amount"), money(value, currency))] if value is not None else []


def _facts(properties: dict) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in list(properties.items())[:20]
    ]


def _fill(title: str, properties: dict) -> str:
    class Blank(dict):
        def __missing__(self, key: str) -> str:
            return "—"

    return title % Blank(properties)


def _moment(at: datetime) -> str:
    return formats.date_format(timezone.localtime(at), "j F Y, H:i")
