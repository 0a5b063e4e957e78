"""What one person can choose, and taking their choices."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, time

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import consent, opt_in, preferences, privacy, profiles, subscriptions
from crm.consent import CHANNEL, PENDING, SUBSCRIBED, TOPIC, UNSUBSCRIBED, Change
from crm.models import ChannelTerms, Consent, Device, Identifier, Profile, Topic
from delivery import channels
from delivery.content.locales import best
from delivery.models import Delivery
from delivery.preferences.tokens import Link

PERSON, STAFF = "person", "admin"  # sources of answers
NAMES = {
    "email": gettext_lazy("Email"),
    "sms": gettext_lazy("Text messages"),
    "webpush": gettext_lazy("Notifications in your browser"),
    "push": gettext_lazy("Notifications on your phone"),
    "whatsapp": gettext_lazy("WhatsApp"),
    "inapp": gettext_lazy("Messages on our website"),
}
_BY_ADDRESS = {"email": "email", "sms": "phone", "whatsapp": "phone"}

Question = tuple[str, str]  # kind, key


class Choice(msgspec.Struct):
    """A channel or topic as the page offers it. `frequency` is told for topics."""

    kind: str
    key: str
    name: str
    description: str
    on: bool
    pending: bool
    version: str = ""
    frequency: str = preferences.ALL

    @property
    def field(self) -> str:
        return f"{self.kind}:{self.key}"

    @property
    def wording(self) -> str:
        return f"{self.name}: {self.description}" if self.description else self.name


class Offer(msgspec.Struct):
    """All that a person can choose, in one language."""

    channels: list[Choice]
    topics: list[Choice]
    wishes: preferences.Wishes

    @property
    def all(self) -> list[Choice]:
        return [*self.channels, *self.topics]


class Chosen(msgspec.Struct):
    """What a person has chosen: the questions that they turned on or off, and their wishes."""

    on: Collection[str] = ()
    off: Collection[str] = ()
    frequencies: Mapping[str, str] = {}
    quiet_from: time | None = None
    quiet_to: time | None = None
    channel: str = ""
    language: str = ""


def find(link: Link) -> Profile | None:
    """Whose page a link leads to now: after a merge the profile that is left; nobody's once they were erased."""
    now = privacy.present([link.profile_id]).get(link.profile_id)
    profile = Profile.objects.filter(pk=now).first() if now else None
    if profile is None:
        return None
    rows = (model.objects.filter(profile=profile) for model in (Identifier, Consent, Device))
    return profile if any(each.exists() for each in rows) else None


def offer(profile: Profile, language: str) -> Offer:
    """What `profile` can choose, named in `language`; six queries."""
    answers = {(row.kind, row.key): row.state for row in Consent.objects.filter(profile=profile)}
    wishes = preferences.of([profile.pk]).get(profile.pk, preferences.Wishes())
    return Offer(
        [_channel(kind, answers) for kind in _offered(profile, answers)],
        [
            _topic(topic, answers, wishes, language)
            for topic in Topic.objects.filter(shown=True).order_by("position", "name")
        ],
        wishes,
    )


def example(language: str) -> Offer:
    """What somebody could choose, for a preview."""
    return Offer(
        [_channel(kind, {(CHANNEL, kind): SUBSCRIBED}) for kind in ("email", "webpush")],
        [_topic(topic, {}, preferences.Wishes(), language) for topic in Topic.objects.filter(shown=True)],
        preferences.Wishes(),
    )


@transaction.atomic
def save(
    profile: Profile,
    chosen: Chosen,
    offered: Offer,
    link: Link,
    proof: dict[str, str],
    now: datetime | None = None,
) -> None:
    """Record what the person has changed, with the words that they saw.

    A channel that the link did not come by is confirmed first where that is asked for: who holds the link need not
    own the other address.

    Raises:
        ValueError: the quiet hours are none.
    """
    now = now or timezone.now()
    by_field = {choice.field: choice for choice in offered.all}
    wanted = [(field, SUBSCRIBED) for field in chosen.on] + [(field, UNSUBSCRIBED) for field in chosen.off]
    changes = [
        _change(profile, by_field[field], state, link, proof, now)
        for field, state in wanted
        if field in by_field
    ]
    proven = _channel_of(link)
    sure = [change for change in changes if change.kind == TOPIC or change.key == proven]
    opt_in.answer(sure, confirmed=True, now=now)
    opt_in.answer([change for change in changes if change not in sure], now=now)
    topics = {choice.key for choice in offered.topics}
    kept = {topic: how for topic, how in offered.wishes.frequencies.items() if topic not in topics}
    preferences.save(
        profile.pk,
        preferences.Wishes(
            kept | {topic: how for topic, how in chosen.frequencies.items() if topic in topics},
            chosen.quiet_from,
            chosen.quiet_to,
            chosen.channel if chosen.channel in {choice.key for choice in offered.channels} else "",
        ),
        now,
    )
    if chosen.language and chosen.language != profile.language:
        patch = profiles.ProfilePatch(language=chosen.language)
        profiles.upsert([profiles.Row("id", str(profile.pk), patch)], STAFF if link.staff else PERSON, now)


@transaction.atomic
def leave(
    profile: Profile, link: Link, wording: str, proof: dict[str, str], now: datetime | None = None
) -> None:
    """Record a no to every channel, also to those never asked about: an older yes that comes later does not count."""
    now = now or timezone.now()
    held = set(Consent.objects.filter(profile=profile, kind=CHANNEL).values_list("key", flat=True))
    held |= {kind for kind, channel in channels.everything().items() if channel.listed}
    held |= set(ChannelTerms.objects.values_list("channel", flat=True))
    waiting = Consent.objects.filter(profile=profile, kind=TOPIC, state=PENDING).values_list("key", flat=True)
    questions = [(CHANNEL, key) for key in sorted(held)] + [(TOPIC, key) for key in waiting]
    consent.record(
        [
            Change(
                profile.pk,
                kind,
                key,
                UNSUBSCRIBED,
                STAFF if link.staff else PERSON,
                now,
                wording,
                proof=proof,
                delivery=link.delivery_id,
            )
            for kind, key in questions
        ]
    )


def asked_by(link: Link) -> set[Question]:
    """The questions that the message asked to confirm which the link came with; none: all that wait."""
    if link.delivery_id is None:
        return set()
    context = Delivery.objects.filter(pk=link.delivery_id).values_list("context", flat=True).first()
    event = context.get("event") if isinstance(context, dict) else None
    if not isinstance(event, dict) or event.get("name") != opt_in.REQUESTED:
        return set()
    named = event.get("properties", {}).get("questions", [])
    pairs = (question.partition(":") for question in named if isinstance(question, str))
    return {(kind, key) for kind, colon, key in pairs if colon}


def vouched_for(link: Link, rows: Iterable[Consent]) -> list[Consent]:
    """Those of the pending answers that the link can confirm: about an email address or a phone number only a message
    to that address can, for who holds a push or an in-app message need not own it."""
    address = _BY_ADDRESS.get(_channel_of(link))
    return [row for row in rows if row.kind == TOPIC or _BY_ADDRESS.get(row.key, address) == address]


def wordings(rows: Iterable[Consent], language: str) -> list[str]:
    """What answers are about, in words."""
    topics = {topic.slug: topic for topic in Topic.objects.all()}
    return [
        _words(topics[row.key], language)[0]
        if row.kind == TOPIC and row.key in topics
        else _name(row.key)
        if row.kind == CHANNEL
        else row.key
        for row in rows
    ]


def _offered(profile: Profile, answers: Mapping[Question, str]) -> list[str]:
    """The channels that mean something for this person: answered already, or with an address."""
    kinds = {kind for kind, channel in channels.everything().items() if channel.listed}
    kinds |= set(ChannelTerms.objects.values_list("channel", flat=True))
    held = Device.objects.filter(profile=profile, state=Device.State.ACTIVE).values_list("kind", flat=True)
    devices = {subscriptions.channel_of(kind) for kind in held}
    reachable = {
        kind for kind in kinds if kind in devices or getattr(profile, _BY_ADDRESS.get(kind, ""), None)
    }
    order = {kind: place for place, kind in enumerate(NAMES)}
    answered = {key for kind, key in answers if kind == CHANNEL}
    return sorted(reachable | answered, key=lambda kind: (order.get(kind, len(order)), kind))


def _channel(kind: str, answers: Mapping[Question, str]) -> Choice:
    state = answers.get((CHANNEL, kind))
    known = channels.everything().get(kind)
    on = state == SUBSCRIBED or (state is None and known is not None and not known.opt_in)
    return Choice(CHANNEL, kind, _name(kind), "", on, state == PENDING)


def _topic(
    topic: Topic, answers: Mapping[Question, str], wishes: preferences.Wishes, language: str
) -> Choice:
    state = answers.get((TOPIC, topic.slug))
    name, description = _words(topic, language)
    return Choice(
        TOPIC,
        topic.slug,
        name,
        description,
        state == SUBSCRIBED or (state is None and not topic.needs_yes),
        state == PENDING,
        topic.updated_at.date().isoformat(),
        wishes.frequencies.get(topic.slug, preferences.ALL),
    )


def _words(topic: Topic, language: str) -> tuple[str, str]:
    translated = topic.translations.get(best(topic.translations, language) or "", {})
    return translated.get("name") or topic.name, translated.get("description") or topic.description


def _name(kind: str) -> str:
    known = channels.everything().get(kind)
    return str(NAMES.get(kind) or (known.label if known else kind))


def _change(
    profile: Profile, choice: Choice, state: str, link: Link, proof: dict[str, str], now: datetime
) -> Change:
    return Change(
        profile.pk,
        choice.kind,
        choice.key,
        state,
        STAFF if link.staff else PERSON,
        now,
        choice.wording,
        choice.version,
        "",
        proof,
        link.delivery_id,
    )


def _channel_of(link: Link) -> str:
    if link.delivery_id is None:
        return ""
    return Delivery.objects.filter(pk=link.delivery_id).values_list("channel", flat=True).first() or ""


def frequencies() -> list[tuple[str, str]]:
    """(value, words) of how often somebody can want a topic."""
    return [
        (preferences.ALL, _("Everything")),
        (preferences.WEEKLY, _("At most once a week")),
        (preferences.IMPORTANT, _("Only what is important")),
    ]
