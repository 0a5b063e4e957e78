"""What a message says to a real person, beside the step that sends it."""

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from campaigns.admin.flows import pages
from campaigns.models import Flow
from crm.models import Profile
from delivery import channels
from delivery.admin import people
from delivery.content import ContentError, locales
from delivery.models import Message, MessageContent


def message(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The message chosen in a step's form, filled in for the person chosen below it."""
    chosen = Message.objects.filter(slug=request.GET.get("message", "")).first()
    may_see = request.user.has_perm("crm.view_profile")
    contents = list(chosen.contents.order_by("channel", "variant", "locale")) if chosen else []
    kinds = list(dict.fromkeys(content.channel for content in contents))
    channel = _channel(request, kinds)
    reference = request.GET.get("preview_as", "").strip()
    person = people.find(reference) if may_see else None
    suggested = people.suggestions() if may_see and chosen else []
    if person is None and suggested:
        person = people.find(suggested[0][0])
    mine = [content for content in contents if content.channel == channel]
    values: dict[str, Any] = {
        "chosen": chosen,
        "channels": [(kind, channels.get(kind).label) for kind in kinds if kind in channels.everything()],
        "channel": channel,
        "may_see": may_see,
        "person": person,
        "reference": reference,
        "nobody": bool(reference) and people.find(reference) is None if may_see else False,
        "suggested": suggested,
        "languages": sorted({content.locale for content in mine} - {""}),
        "edit_url": pages.optional_url("delivery_message_change", chosen.pk) if chosen else "",
        **(_filled(flow, _fitting(mine, person), person) if mine else {}),
    }
    return pages.fragment(request, "message_preview", pages.context(request, flow, **values))


def _channel(request: HttpRequest, written: list[str]) -> str:
    """The channel to show: the one asked for below the message, else the first that the step sends by."""
    wishes = [request.GET.get(name, "") for name in ("preview_channel", "channel", "channel_1")]
    if request.GET.get("how") == "chain":
        wishes[1], wishes[2] = wishes[2], wishes[1]
    wished = [kind for kind in wishes if kind]
    return next((kind for kind in wished if kind in written), next(iter([*wished, *written]), ""))


def _fitting(contents: list[MessageContent], person: Profile | None) -> MessageContent:
    """The first variant in the person's language."""
    first = [content for content in contents if content.variant == contents[0].variant]
    by_locale = {content.locale: content for content in first}
    locale = locales.best(by_locale, person.language if person else None)
    return by_locale[locale] if locale is not None else first[0]


def _filled(flow: Flow, content: MessageContent, person: Profile | None) -> dict[str, Any]:
    channel, missing = channels.get(content.channel), []
    trigger = (flow.draft or {}).get("trigger") or {}
    name = trigger.get("name") or trigger.get("event")
    event = name if isinstance(name, str) else ""
    data = people.data_for(person, [content.content], content.locale, event) if person is not None else {}
    try:
        filled = channel.compile(content.content).render(data, missing, locale=content.locale)
    except ContentError as error:
        return {"mistake": str(error.message)}
    except msgspec.ValidationError:
        return {"mistake": _("The message is not finished.")}
    return {
        "content": msgspec.to_builtins(filled),
        "template": channel.preview,
        "missing": list(dict.fromkeys(missing)),
        "locale": content.locale,
    }
