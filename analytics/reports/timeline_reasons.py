"""Why a message was, or was not, sent to a person: the story behind it in sentences."""

from collections.abc import Sequence
from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from campaigns.models import Broadcast, Decision, Flow
from crm.models import Consent, Event
from delivery.admin.reasons import explain, known
from delivery.models import Delivery


class Reasons:
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
                runs.add(run_of(delivery))
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
        """Sentences, in the order in which it came about."""
        delivery = self.deliveries.get(event.properties.get("delivery") or 0)
        if delivery is None:
            return []
        sentences = self._origin(delivery)
        if event.name == "message_suppressed":
            return [
                *sentences,
                *_plain(event),
                _("It was not sent, because: %s.") % event.properties.get("reason", ""),
            ]
        consent = self.consent.get(delivery.channel)
        if consent and consent.state == Consent.State.SUBSCRIBED and consent.changed_at <= event.occurred_at:
            sentences.append(
                _("They agreed to this channel on %(when)s (%(source)s).")
                % {"when": moment(consent.changed_at), "source": consent.source}
            )
        return sentences

    def _origin(self, delivery: Delivery) -> list[str]:
        flow = self.flows.get(delivery.origin_id or 0)
        broadcast = self.broadcasts.get(delivery.origin_id or 0)
        if delivery.origin_type == Delivery.Origin.FLOW and flow:
            sentences = []
            for decision in self.path.get(run_of(delivery), []):
                if sentence := decision_sentence(decision, flow.name):
                    sentences.append(sentence)
                if decision.step == delivery.origin_step and _asked(decision, delivery.channel):
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


def run_of(delivery: Delivery) -> int:
    """The number of the enrollment that asked for a flow's delivery; its cause is "flow:<enrollment>:<step>"."""
    _flow, _separator, rest = delivery.cause.partition(":")
    number = rest.partition(":")[0]
    return int(number) if number.isdecimal() else 0


def decision_sentence(decision: Decision, flow: str) -> str:
    detail = decision.detail
    if decision.kind == "entered":
        return _("They entered the flow “%(flow)s” by “%(event)s” on %(when)s.") % {
            "flow": flow,
            "event": detail.get("event", ""),
            "when": moment(decision.at),
        }
    if decision.kind == "wait:go_on" and "waited_until" in detail:  # not if their date was missing or past
        return _("They waited until %s.") % moment(datetime.fromisoformat(detail["waited_until"]))
    if decision.kind in ("split:go_on", "random:go_on", "wait_for:go_on"):
        return _("They took the branch “%s”.") % detail.get("branch_name", "")
    if decision.kind in ("message:go_on", "message:wait") and detail.get("channel"):
        return _("The flow put the message into the outbox on %s.") % moment(decision.at)
    return ""


def _asked(decision: Decision, channel: str) -> bool:
    """Whether this is the decision to send; a message that falls back on other channels has more than one."""
    if decision.kind == "message:wait":
        return decision.detail.get("channel") == channel
    return decision.kind == "message:go_on"


def _plain(event: Event) -> list[str]:
    """What the reason means, where it is one of ours."""
    reason = event.properties.get("reason", "")
    return [explain(reason)] if known(reason) else []


def moment(at: datetime) -> str:
    """A day and a time in the present time zone."""
    return formats.date_format(timezone.localtime(at), "j F Y, H:i")
