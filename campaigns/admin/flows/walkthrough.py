"""Trying a draft with one person: the walk as a page, and sending what is met on the way to somebody who tests."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.admin.flows import pages, tried_words
from campaigns.flows import inventing, triggers, walkthrough
from campaigns.flows.definition import Definition, DefinitionError, check, parse
from campaigns.flows.steps.message import channel_label
from campaigns.models import Flow
from campaigns.segments import telling
from crm import geography, masking
from crm.models import Profile
from delivery import outbox
from delivery.admin import people
from delivery.models import Delivery, Message

TEMPLATE = f"{pages.TEMPLATES}/walkthrough"
LONGEST = 20_000  # characters of properties


class Unreadable(ValueError):
    """The properties are no JSON object; the text says so."""


def page(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The form, with the walk of the person it names; by HTMX only the walk."""
    if not request.user.has_perm("crm.view_profile"):
        raise PermissionDenied
    values: dict[str, Any] = pages.context(request, flow)
    try:
        definition = parse(flow.draft)
        values["broken"] = bool(check(definition))
    except DefinitionError:
        definition, values["broken"] = Definition(), True
    if not values["broken"]:
        values |= _walked(request, flow, definition)
    if request.headers.get("HX-Request"):
        return pages.fragment(request, "walkthrough/walk", values)
    values |= {
        **model_admin.admin_site.each_context(request),
        "tabs": pages.tabs(flow, "campaigns_flow_walkthrough"),
        "opts": model_admin.model._meta,
        "original": flow,
        "title": _("%s with one person") % flow.name,
        "suggested": people.suggestions(),
        "trigger": triggers.summary(definition),
        "may_send": _may_send(request),
    }
    return TemplateResponse(request, f"{TEMPLATE}/page.html", values)


def send(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Queue the messages that the walk meets as tests, each once, for somebody who looks at them."""
    if request.method != "POST":
        raise Http404
    if not _may_send(request):
        raise PermissionDenied
    tester = pages.named_person(request.POST.get("to", ""))
    if tester is None:
        return _answer(request, flow, _("Nobody has this email, phone or number."), bad=True)
    try:
        definition = parse(flow.draft)
    except DefinitionError:
        return _answer(
            request, flow, _("The draft has problems; the builder shows them. Mend them first."), bad=True
        )
    values = _walked(request, flow, definition)
    if "walk" not in values:
        return _answer(request, flow, values.get("problem") or _("Choose a person first."), bad=True)
    wanted = walkthrough.messages(values["walk"])
    known = Message.objects.in_bulk({slug for slug, _channel in wanted}, field_name="slug")
    event = values["event"]
    with transaction.atomic():
        outbox.queue(
            [
                outbox.DeliveryRequest(
                    cause=f"test:{uuid.uuid4()}",
                    message_id=known[slug].pk,
                    profile_id=tester.pk,
                    channel=channel,
                    origin_type=Delivery.Origin.TEST,
                    context={"event": event} if event else {},
                )
                for slug, channel in wanted
                if slug in known
            ]
        )
    number = len(wanted)
    words = ngettext(
        "%(number)d test is on its way to %(name)s.", "%(number)d tests are on their way to %(name)s.", number
    )
    return _answer(request, flow, words % {"number": number, "name": tester.display_name})


def _answer(request: HttpRequest, flow: Flow, text: str, bad: bool = False) -> HttpResponse:
    return pages.fragment(request, "walkthrough/sent", pages.context(request, flow, text=text, bad=bad))


def _may_send(request: HttpRequest) -> bool:
    return request.user.has_perms(["delivery.change_message", "crm.view_profile"])


def _walked(request: HttpRequest, flow: Flow, definition: Definition) -> dict[str, Any]:
    """The walk that the form asks for, with what the form holds."""
    if telling.tells(flow.draft):  # the way that somebody goes would tell their contact data
        return {"problem": tried_words.hidden()}
    asked: Mapping[str, str] = request.POST if request.method == "POST" else request.GET
    trigger = triggers.of(definition)
    names = sorted(trigger.kind.names(trigger.config)) if trigger else []
    name = names[0] if names else ""
    who = asked.get("person", "")
    values: dict[str, Any] = {"who": who, "event_name": name, "typed": asked.get("properties", "")}
    person = pages.named_person(who)
    if person is None:
        return values | {"problem": _("Nobody has this email, phone or number.") if who else ""}
    event: dict[str, Any] | None = None
    if name:
        real = walkthrough.last_event(definition, person.pk, name)
        own = asked.get("event") == "own"
        values |= {"real": real, "own": own}
        if real is not None:
            values["real_at"] = datetime.fromisoformat(real["occurred_at"])
        if real is not None and not own:
            event = real
            values["typed"] = _json(real["properties"])
        else:
            if not values["typed"].strip():
                values["typed"] = _json(inventing.properties(definition, timezone.now()))
            try:
                event = {"name": name, "properties": _properties(values["typed"])}
            except Unreadable as error:
                return values | {"person": person, "problem": str(error)}
            values["own"] = True
    choices = {key.removeprefix("way-"): value for key, value in asked.items() if key.startswith("way-")}
    now = timezone.now()
    zone = geography.zone_for(_zone_facts(person))
    with timezone.override(zone):  # of the times in what steps tell
        walk = walkthrough.walk(flow.pk, flow.slug, definition, person, event, now, choices)
    return values | {
        "person": person,
        "person_url": pages.optional_url("crm_profile_change", person.pk),
        "zone": zone,
        "event": event,
        "walk": walk,
        "stops": [_shown(stop) for stop in walk.stops],
        "tests": len(walkthrough.messages(walk)),
    }


def _zone_facts(person: Profile) -> dict[str, Any]:
    row = Profile.objects.values("timezone", "latitude", "longitude", "country").get(pk=person.pk)
    return dict(row)


def _shown(stop: walkthrough.Stop) -> dict[str, Any]:
    if masking.hidden():
        stop.told = masking.text(stop.told)
    return {
        "stop": stop,
        "waits": stop.leaves is not None and stop.leaves > stop.arrives,
        "sent": [
            {
                "sent": sent,
                "channel": channel_label(sent.channel),
                "verdict": tried_words.stopped(sent.verdict.reason) if sent.verdict else "",
                "until": sent.verdict.until if sent.verdict else None,
            }
            for sent in stop.sent
        ],
    }


def _properties(text: str) -> dict[str, Any]:
    """The invented event's properties. Raises Unreadable."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text[:LONGEST])
    except ValueError as error:
        raise Unreadable(_("The properties are not valid JSON: %s") % error) from error
    if not isinstance(found, dict):
        raise Unreadable(_('Write the properties as a JSON object, such as {"total": 20}.'))
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
