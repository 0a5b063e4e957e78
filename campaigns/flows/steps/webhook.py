"""Webhook: call another system, and go on at once or wait for its reply."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns.flows import contention, profile_writing, values, webhooks
from campaigns.flows.fields import PairsField
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on, leave, wait
from campaigns.models import WebhookCall
from crm.rules.errors import Problem
from delivery import content, webhook_hosts

METHODS = ("POST", "PUT", "PATCH")
GO_ON, LEAVE = "go_on", "leave"
GIVEN_UP_AFTER = timedelta(days=1)  # calls that nobody waits for
LONGEST_WAIT = 7 * 24 * 60  # minutes
LONGEST_BODY = 256 * 1024  # bytes
RESERVED = frozenset({"event", "profile", "computed", "done", "coupon", "started_by"})
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "upgrade", "te"}
)
ANSWERED = WebhookCall.State.ANSWERED.value
NO_ANSWER, TOO_LARGE = "no answer", "too large"


class WebhookConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What to call, and what becomes of the reply.

    Args:
        body: fields of the JSON to send: values, or {"from": path}; None: all that is known of the run and profile.
        reply: if given, runs wait for the reply; "attributes.<name>" or a field -> path in the reply.
        save_as: what the run calls the reply: messages can say {{ reply.discount }}.
        wait_minutes: how long runs wait.
        if_failed: what becomes of who got no reply.
    """

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    reply: dict[str, str] | None = None
    save_as: str = "reply"
    wait_minutes: int = 60
    if_failed: Literal["go_on", "leave"] = "go_on"


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=2000,
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "placeholder": "https://", "type": "url"}),
        help_text=gettext_lazy("Calls are signed (Standard Webhooks) and repeated until they are answered."),
    )
    method = forms.ChoiceField(
        label=gettext_lazy("Method"),
        choices=[(name, name) for name in METHODS],
        initial="POST",
        widget=UnfoldAdminSelectWidget,
    )
    content = forms.ChoiceField(
        label=gettext_lazy("Send"),
        choices=[
            ("all", gettext_lazy("The profile and what the run knows")),
            ("own", gettext_lazy("Chosen fields")),
        ],
        initial="all",
        widget=UnfoldAdminSelectWidget,
    )
    body = PairsField(
        label=gettext_lazy("Fields"),
        required=False,
        value_placeholder="{{ profile.email }}",
        help_text=values.HELP,
    )
    headers = PairsField(
        label=gettext_lazy("Headers"),
        required=False,
        help_text=gettext_lazy("Whoever sees the flow sees them: not for passwords."),
    )
    waits = forms.BooleanField(
        label=gettext_lazy("Wait for the reply"), required=False, widget=UnfoldBooleanSwitchWidget
    )
    reply = PairsField(
        label=gettext_lazy("Write from the reply"),
        name_label=gettext_lazy("Field"),
        value_label=gettext_lazy("Path in the reply"),
        required=False,
        names=profile_writing.names,
        value_placeholder="customer.score",
    )
    save_as = forms.SlugField(
        label=gettext_lazy("Name of the reply"),
        required=False,
        initial="reply",
        max_length=50,
        widget=UnfoldAdminTextInputWidget(attrs={"data-show-if": "waits=on", "dir": "ltr"}),
        help_text=gettext_lazy("Messages after this step can say {{ reply.discount }}."),
    )
    wait_minutes = forms.IntegerField(
        label=gettext_lazy("Wait for so many minutes at most"),
        required=False,
        initial=60,
        min_value=1,
        max_value=LONGEST_WAIT,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-show-if": "waits=on"}),
    )
    if_failed = forms.ChoiceField(
        label=gettext_lazy("Without a reply"),
        required=False,
        choices=[(GO_ON, gettext_lazy("Go on")), (LEAVE, gettext_lazy("Leave the flow"))],
        initial=GO_ON,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "waits=on"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, condition in (("body", "content=own"), ("reply", "waits=on")):
            self.fields[name].widget.attrs["data-show-if"] = condition


class Webhook(StepKind):
    """Stores a call for each run; a worker makes it. Who waits is woken by the answer, or goes on at the time-out."""

    kind, label, icon, position, pure = "webhook", gettext_lazy("Webhook"), "webhook", 60, False
    help = gettext_lazy("Call another system, and use its reply if you like.")
    Config, Form = WebhookConfig, WebhookForm

    def run(self, step, people, now):
        config = self.config(step)
        runs = [person.enrollment_id for person in people]
        calls = {
            call.enrollment_id: call
            for call in WebhookCall.objects.filter(enrollment_id__in=runs, step=step.key).only(
                "enrollment_id", "state", "status_code", "reply", "error", "expires_at", "awaited"
            )
        }
        new = [person for person in people if person.enrollment_id not in calls]
        asked = self._ask(step, config, new, now)
        known = [person for person in people if person.enrollment_id in calls]
        return asked | self._go_on(step, config, known, calls, now)

    def _ask(
        self, step: Any, config: WebhookConfig, people: Sequence[Person], now: datetime
    ) -> dict[int, Outcome]:
        target = webhook_hosts.look_at(config.url)
        waiting = config.reply is not None
        until = now + (timedelta(minutes=config.wait_minutes) if waiting else GIVEN_UP_AFTER)
        bodies = self._bodies(step, config, people, now)
        wanted = [
            webhooks.Wanted(
                person.enrollment_id, person.flow_id, person.profile_id, bodies[person.enrollment_id]
            )
            for person in people
            if len(bodies[person.enrollment_id].encode()) <= LONGEST_BODY
        ]
        webhooks.ask(wanted, step.key, config.url, config.method, config.headers, waiting, until, now)
        sent = {call.enrollment for call in wanted}
        return {
            person.enrollment_id: go_on(host=target.origin, refused=TOO_LARGE)
            if person.enrollment_id not in sent
            else wait(until, host=target.origin)
            if waiting
            else go_on(host=target.origin)
            for person in people
        }

    def _go_on(
        self,
        step: Any,
        config: WebhookConfig,
        people: Sequence[Person],
        calls: dict[int, WebhookCall],
        now: datetime,
    ) -> dict[int, Outcome]:
        """For runs whose calls are stored: with the answer, without one, or not yet."""
        outcomes: dict[int, Outcome] = {}
        answered = []
        for person in people:
            call = calls[person.enrollment_id]
            if config.reply is None or not call.awaited:
                outcomes[person.enrollment_id] = go_on(already=True)
            elif call.state == ANSWERED:
                answered.append(person)
            elif call.state == WebhookCall.State.WAITING and now < call.expires_at:
                outcomes[person.enrollment_id] = wait(call.expires_at)
            else:
                facts: dict[str, Any] = {
                    "refused": NO_ANSWER,
                    "status": call.status_code,
                    "error": call.error,
                }
                ending = leave(reason=NO_ANSWER, **facts) if config.if_failed == LEAVE else go_on(**facts)
                outcomes[person.enrollment_id] = ending

        def told(some: Sequence[Person]) -> dict[int, Outcome]:
            written = self._write(step, config, some, calls, now)
            return {
                person.enrollment_id: go_on(
                    context={config.save_as: calls[person.enrollment_id].reply},
                    status=calls[person.enrollment_id].status_code,
                    **written.get(person.enrollment_id, {}),
                )
                for person in some
            }

        return outcomes | (contention.with_free(answered, now, told) if config.reply else told(answered))

    def _write(
        self,
        step: Any,
        config: WebhookConfig,
        people: Sequence[Person],
        calls: dict[int, WebhookCall],
        now: datetime,
    ) -> dict[int, dict[str, Any]]:
        if not config.reply:
            return {}
        settings = {name: {values.FROM: f"reply.{path}"} for name, path in config.reply.items()}
        knowing = [
            msgspec.structs.replace(person, context={"reply": calls[person.enrollment_id].reply})
            for person in people
        ]
        return profile_writing.write(settings, knowing, step.key, now)

    def _bodies(
        self, step: Any, config: WebhookConfig, people: Sequence[Person], now: datetime
    ) -> dict[int, str]:
        """The JSON of each run's call."""
        if config.body is not None:
            known = values.known(people, config.body.values())
            fields = {
                run: {name: values.resolve(setting, about) for name, setting in config.body.items()}
                for run, about in known.items()
            }
            return {
                run: _json({name: None if value is values.MISSING else value for name, value in told.items()})
                for run, told in fields.items()
            }
        profiles = content.data({person.profile_id for person in people})
        return {
            person.enrollment_id: _json(
                {
                    "type": "flow.step",
                    "timestamp": now,
                    "flow": person.flow,
                    "step": step.key,
                    "run": person.enrollment_id,
                    "profile": profiles.get(person.profile_id, {}),
                    "context": {name: value for name, value in person.context.items() if name != "done"},
                }
            )
            for person in people
        }

    def rehearse(self, step, people, now):
        """As if every call were sent and, where people wait, answered at once without saying anything."""
        config = self.config(step)
        host = webhook_hosts.look_at(config.url).origin
        return {person.enrollment_id: go_on(host=host) for person in people}

    def stored(self, cleaned):
        config: dict[str, Any] = {"url": cleaned["url"].strip()}
        if cleaned.get("method", "POST") != "POST":
            config["method"] = cleaned["method"]
        if cleaned.get("headers"):
            config["headers"] = dict(cleaned["headers"])
        if cleaned.get("content") == "own":
            config["body"] = {name: values.read(text) for name, text in cleaned.get("body") or []}
        if cleaned.get("waits"):
            config["reply"] = dict(cleaned.get("reply") or [])
            defaults = {"save_as": "reply", "wait_minutes": 60, "if_failed": GO_ON}
            for name, default in defaults.items():
                if cleaned.get(name) not in (None, "", default):
                    config[name] = cleaned[name]
        return config

    def initial(self, config):
        body = config.get("body")
        return {
            **config,
            "content": "all" if body is None else "own",
            "body": [(name, values.show(value)) for name, value in (body or {}).items()],
            "headers": list((config.get("headers") or {}).items()),
            "waits": config.get("reply") is not None,
            "reply": list((config.get("reply") or {}).items()),
        }

    def told(self, step, outcome, facts):
        if outcome == "wait":
            return _("They wait for the reply of %s.") % facts.get("host", "")
        if facts.get("refused") == TOO_LARGE:
            return _("Nothing was sent: it would have been too large.")
        if facts.get("refused"):
            return _("No usable reply came: %s.") % (facts.get("error") or facts.get("status") or NO_ANSWER)
        if facts.get("status"):
            return _("The reply came with status %s.") % facts["status"]
        if facts.get("host"):
            return _("A call of %s was asked for.") % facts["host"]
        return super().told(step, outcome, facts)

    def summary(self, step):
        try:
            host = webhook_hosts.look_at(str(step.config.get("url", ""))).origin.partition("//")[2]
        except webhook_hosts.BadAddress:
            return str(_("No address"))
        return _("%s, with reply") % host if step.config.get("reply") is not None else host

    def config_problems(self, step, config):
        found = []
        try:
            webhook_hosts.look_at(config.url)
        except webhook_hosts.BadAddress as error:
            found.append(Problem("url", str(error)))
        for name, text in config.headers.items():
            ours = name.lower() in _OURS or name.lower().startswith("webhook-")
            if not name or not set(name) <= _TOKEN or ours or not text.isascii() or not text.isprintable():
                found.append(Problem("headers", _("“%s” can't be sent as a header.") % name[:50]))
        for name, setting in (config.body or {}).items():
            if wrong := values.problem(setting):
                found.append(Problem("body", f"{name}: {wrong}"))
        for name, path in (config.reply or {}).items():
            if wrong := profile_writing.problem(name, {values.FROM: path}):
                found.append(Problem("reply", f"{name}: {wrong}"))
            elif not path.strip():
                found.append(Problem("reply", _("Say where “%s” stands in the reply.") % name))
        if not config.save_as.replace("_", "a").isalnum() or config.save_as in RESERVED:
            found.append(Problem("save_as", _("Choose another name, of letters, digits and underscores.")))
        if not 0 < config.wait_minutes <= LONGEST_WAIT:
            found.append(Problem("wait_minutes", _("Wait for a minute at least and a week at most.")))
        return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
