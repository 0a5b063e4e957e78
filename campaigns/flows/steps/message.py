"""Message: put a message into people's outbox."""

from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows.steps.base import StepKind, go_on
from crm.rules.errors import Problem
from delivery import channels, outbox
from delivery.models import Message, MessageContent


class MessageConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which message (by its short name) goes out by which channel."""

    message: str
    channel: str = "webpush"


class MessageForm(forms.Form):
    message = forms.ChoiceField(label=gettext_lazy("Message"), widget=UnfoldAdminSelectWidget)
    channel = forms.ChoiceField(label=gettext_lazy("Channel"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["message"].choices = [
            ("", _("Choose a message")),
            *Message.objects.values_list("slug", "name"),
        ]
        fields["channel"].choices = [
            (channel.kind, channel.label) for channel in channels.everything().values() if channel.listed
        ]


class SendMessage(StepKind):
    """Queues one delivery for each run; whether it may go out is decided when it is about to."""

    kind, label, icon, position = "message", gettext_lazy("Message"), "notifications", 10
    help = gettext_lazy("Send a message.")
    Config, Form = MessageConfig, MessageForm

    def run(self, step, people, now):
        config = self.config(step)
        message = Message.objects.get(slug=config.message)
        requests = [
            outbox.DeliveryRequest(
                cause=cause(person.enrollment_id, step.key),
                message_id=message.pk,
                profile_id=person.profile_id,
                channel=config.channel,
                origin_type="flow",
                origin_id=person.flow_id,
                origin_step=step.key,
                context=person.context,
            )
            for person in people
        ]
        outbox.queue(requests, now)
        return {
            person.enrollment_id: go_on(message=config.message, channel=config.channel) for person in people
        }

    def summary(self, step):
        name = (
            Message.objects.filter(slug=step.config.get("message", "")).values_list("name", flat=True).first()
        )
        return name or str(_("No message chosen"))

    def config_problems(self, step, config):
        if not Message.objects.filter(slug=config.message).exists():
            return [Problem("message", _("There is no such message any more; choose another."))]
        if not MessageContent.objects.filter(message__slug=config.message, channel=config.channel).exists():
            return [Problem("channel", _("The message has no text for this channel."))]
        return []


def cause(enrollment_id: int, step_key: str) -> str:
    """What a flow's delivery is unique by: one run sends one step's message once."""
    return f"flow:{enrollment_id}:{step_key}"
