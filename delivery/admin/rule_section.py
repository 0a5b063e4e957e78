"""What the pages of messages and topics say about the rules that hold for them."""

from typing import Any

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from crm.models import Topic
from delivery.models import Message, SendingRules
from delivery.policies import approval, rules, wording


def marked(message: Message, user: Any) -> None:
    """Note who marked a message as transactional, before it is saved."""
    approval.marked(message, user)


def of_message(message: Message | None, user: Any = None) -> SafeString | str:
    """The rules that hold for a saved message, the way to its own, and how its approval stands.

    The buttons belong to forms of their own by their `formaction`, inside the message's form.
    """
    if message is None or message.pk is None:
        return _("Save the message to give it rules of its own.")
    parts = [_list(wording.sentences(rules.load([message])[message.pk]))]
    may = user is None or user.has_perm("delivery.change_sendingrules")
    if may:
        parts.append(_button("open", _("Rules of this message"), "message", message.pk))
    if message.transactional:
        parts.append(_approval(message, user))
    return format_html_join("", "{}", ((part,) for part in parts))


def of_topic(topic: Topic | None, user: Any = None) -> SafeString | str:
    """The rules that hold for messages about a topic, and the way to its own."""
    if topic is None or topic.pk is None:
        return _("Save the topic to give it rules of its own.")
    levels = SendingRules.objects.filter(message=None).prefetch_related("hours", "caps")
    account = next((row for row in levels if row.topic_id is None), None)
    own = next((row for row in levels if row.topic_id == topic.pk), None)
    told = _list(wording.sentences(rules.resolve(account, own, None)))
    if user is not None and not user.has_perm("delivery.change_sendingrules"):
        return told
    return format_html("{}{}", told, _button("open", _("Rules of this topic"), "topic", topic.pk))


def _approval(message: Message, user: Any) -> SafeString:
    if message.transactional_approved_at:
        told = _("Approved by %(who)s on %(when)s: hours, limits and topics do not hold.") % {
            "who": message.transactional_approved_by or "?",
            "when": formats.date_format(timezone.localtime(message.transactional_approved_at), "j F Y, H:i"),
        }
        action = _button("withdraw", _("Take the approval back"), message.pk)
    else:
        told = _("Marked as transactional and not approved as it is now: the rules hold for it.")
        action = _button("approve", _("Approve as transactional"), message.pk)
        if user is not None and (reason := approval.hindrance(message, user)):
            action = format_html("<p>{}</p>", reason)
    if user is not None and message.transactional_approved_at and not user.has_perm(approval.PERMISSION):
        action = SafeString("")
    return format_html("<p>{}</p>{}", told, action)


def _list(sentences: list[str]) -> SafeString:
    if not sentences:
        return format_html(
            "<p>{}</p>", _("No rules hold: it goes out at any hour, as often as it is asked for.")
        )
    return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ((each,) for each in sentences)))


def _button(name: str, label: str, *args: Any) -> SafeString:
    url = reverse(f"admin:delivery_sendingrules_{name}", args=args)
    return format_html(
        '<p><button type="submit" class="nudge-button is-plain" formaction="{}" formnovalidate>{}</button></p>',
        url,
        label,
    )
