"""Consent: subscribe people to a channel or topic, or unsubscribe them.

A flow never gives a yes over a no, whoever wrote that down (a flow may have done so because the person asked), nor in
place of an answer that waits to be confirmed (double opt-in): only the person takes a no back. An answer that is there
already stays as it is, with its source, wording and proof.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django import forms
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from campaigns.flows import contention
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on
from crm import consent
from crm.models import Consent, LegalBasis, Topic
from crm.rules.errors import Problem
from delivery import channels

SOURCE = "flow"  # who changed it, in the ledger
# A no that was said, but not stored yet, when a flow gave its yes is the newer answer.
YIELDING = timedelta(seconds=5)
SAID_NO, UNCONFIRMED, NEWER = "said no", "not confirmed yet", "a newer answer is there"
ALREADY = "already so"
_LOCKED = """
    SELECT profile_id, state, changed_at FROM crm_consent
    WHERE kind = %s AND key = %s AND profile_id = ANY(%s::bigint[]) ORDER BY profile_id FOR UPDATE SKIP LOCKED
"""


class ConsentConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The answer to write down for a channel or a topic.

    Args:
        wording: for a yes, the words that people agreed to, kept as proof.
        legal_basis: for a yes.
    """

    state: Literal["subscribed", "unsubscribed"]
    channel: str = ""
    topic: str = ""
    wording: str = ""
    legal_basis: Literal["consent", "contract", "legitimate_interest"] = "consent"

    @property
    def question(self) -> tuple[str, str]:
        """Kind and key, as the ledger has them."""
        return (consent.TOPIC, self.topic) if self.topic else (consent.CHANNEL, self.channel)


class ConsentForm(forms.Form):
    state = forms.ChoiceField(
        label=gettext_lazy("Do"),
        choices=[
            (consent.UNSUBSCRIBED, gettext_lazy("Unsubscribe")),
            (consent.SUBSCRIBED, gettext_lazy("Subscribe")),
        ],
        initial=consent.UNSUBSCRIBED,
        widget=UnfoldAdminRadioSelectWidget,
        help_text=gettext_lazy(
            "Whoever has said no is never subscribed by a flow; only they can take it back."
        ),
    )
    about = forms.ChoiceField(label=gettext_lazy("Channel or topic"), widget=UnfoldAdminSelectWidget)
    wording = forms.CharField(
        label=gettext_lazy("What people agreed to"),
        required=False,
        max_length=1000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "data-show-if": "state=subscribed"}),
        help_text=gettext_lazy("The words they saw, such as those beside a box they ticked; kept as proof."),
    )
    legal_basis = forms.ChoiceField(
        label=gettext_lazy("Legal basis"),
        required=False,
        choices=LegalBasis.choices,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "state=subscribed"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["about"].choices = [
            ("", _("Choose a channel or topic")),
            (_("Channels"), [(f"channel:{slug}", name) for slug, name in _channels().items()]),
            (_("Topics"), [(f"topic:{slug}", name) for slug, name in _topics().items()]),
        ]


def _channels() -> dict[str, Any]:
    return {kind: channel.label for kind, channel in channels.everything().items() if channel.listed}


def _topics() -> dict[str, str]:
    return dict(Topic.objects.values_list("slug", "name"))


class ChangeConsent(StepKind):
    """Writes an answer into the ledger of consents, for whom it is allowed."""

    kind, label, icon, position, pure = "consent", gettext_lazy("Change consent"), "how_to_reg", 54, False
    help = gettext_lazy(
        "Subscribe people to a channel or topic, or unsubscribe them. A no of theirs stays a no."
    )
    Config, Form = ConsentConfig, ConsentForm

    def run(self, step, people, now):
        return contention.with_free(people, now, lambda free: self._write(step, free, now))

    def rehearse(self, step, people, now):
        config = self.config(step)
        kind, key = config.question
        held = Consent.objects.filter(
            kind=kind, key=key, profile_id__in={person.profile_id for person in people}
        )
        answers = {
            pk: (state, changed_at)
            for pk, state, changed_at in held.values_list("profile_id", "state", "changed_at")
        }
        return {
            person.enrollment_id: _outcome(config, _refusal(config, answers.get(person.profile_id), now))
            for person in people
        }

    def _write(self, step: Any, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
        # While the profiles are locked nobody's first answer can be committed; those who change theirs just now are
        # asked again in a moment.
        config = self.config(step)
        kind, key = config.question
        ids = sorted({person.profile_id for person in people})
        with connection.cursor() as cursor:
            cursor.execute(_LOCKED, [kind, key, ids])
            answers = {pk: tuple(answer) for pk, *answer in cursor.fetchall()}
        answered = Consent.objects.filter(kind=kind, key=key, profile_id__in=ids)
        busy = set(answered.values_list("profile_id", flat=True)) - answers.keys()
        refusals = {pk: _refusal(config, answers.get(pk), now) for pk in ids if pk not in busy}
        told = [pk for pk, refusal in refusals.items() if not refusal]
        given = config.state == consent.SUBSCRIBED
        consent.record(
            [
                consent.Change(
                    profile_id=pk,
                    kind=kind,
                    key=key,
                    state=config.state,
                    source=SOURCE,
                    changed_at=now - YIELDING if given else now,
                    wording=config.wording if given else "",
                    legal_basis=config.legal_basis if given else consent.ON_CONSENT,
                )
                for pk in told
            ]
        )
        return {
            person.enrollment_id: contention.again(person, now)
            if person.profile_id in busy
            else _outcome(config, refusals[person.profile_id])
            for person in people
        }

    def told(self, step, outcome, facts):
        refusal = {
            SAID_NO: _("They have said no, so the answer stays."),
            UNCONFIRMED: _("They have not confirmed yet, so the answer stays."),
            ALREADY: _("It was so already."),
            NEWER: _("They have answered since, so the answer stays."),
        }.get(facts.get("refused", ""))
        if refusal or outcome != "go_on":
            return refusal or super().told(step, outcome, facts)
        key = facts.get("topic") or facts.get("channel", "")
        given = facts.get("state") == consent.SUBSCRIBED
        return (_("They are subscribed to “%s” now.") if given else _("They left “%s”.")) % key

    def stored(self, cleaned):
        kind, _separator, key = cleaned.get("about", "").partition(":")
        config = {"state": cleaned["state"], kind: key}
        if cleaned["state"] == consent.SUBSCRIBED:
            config["wording"] = cleaned.get("wording", "")
            if cleaned.get("legal_basis", consent.ON_CONSENT) != consent.ON_CONSENT:
                config["legal_basis"] = cleaned["legal_basis"]
        return {name: value for name, value in config.items() if name and value}

    def initial(self, config):
        kind = "topic" if config.get("topic") else "channel"
        about = f"{kind}:{config[kind]}" if config.get(kind) else ""
        return {**config, "about": about}

    def summary(self, step):
        topic, channel = (str(step.config.get(name) or "") for name in ("topic", "channel"))
        if not topic and not channel:
            return str(_("Nothing chosen"))
        name = _topics().get(topic, topic) if topic else _channels().get(channel, channel)
        subscribed = step.config.get("state") == consent.SUBSCRIBED
        return (_("Subscribe to %s") if subscribed else _("Unsubscribe from %s")) % name

    def config_problems(self, step, config):
        if bool(config.channel) == bool(config.topic):
            return [Problem("about", _("Choose one channel or one topic."))]
        if config.channel and config.channel not in channels.everything():
            return [Problem("about", _("There is no such channel; choose another."))]
        if config.topic and config.topic not in _topics():
            return [Problem("about", _("There is no such topic any more; choose another."))]
        return []


def _refusal(config: ConsentConfig, answer: tuple[str, datetime] | None, now: datetime) -> str:
    """Why the answer of one person stays as it is; empty if it may change."""
    if answer is None:
        return ""
    state, changed_at = answer
    if state == config.state:
        return ALREADY
    if config.state == consent.SUBSCRIBED:
        return UNCONFIRMED if state == consent.PENDING else SAID_NO
    return NEWER if changed_at > now else ""


def _outcome(config: ConsentConfig, refusal: str) -> Outcome:
    kind, key = config.question
    about: dict[str, Any] = {kind: key, "state": config.state}
    return go_on(**about, refused=refusal) if refusal else go_on(**about)
