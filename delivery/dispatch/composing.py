"""Filling in what each person gets, just before it goes out."""

import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from delivery import channels, content, links, policies, variants
from delivery.channels.base import Address, Channel
from delivery.models import Delivery, MessageContent
from delivery.policies import Verdict
from delivery.preferences import links as preference_links

logger = logging.getLogger(__name__)

NO_CONTENT = "nothing written for this channel, variant and language"


class Composed(msgspec.Struct):
    """One filled-in message: as kept in the ledger, as the channel sends it, where its links lead, and where to."""

    delivery: Delivery
    locale: str
    content: Any
    payload: Any
    links: list[str]
    targets: list[Address] = []


def compose(
    deliveries: Sequence[Delivery], verdicts: dict[int, Verdict], until: float
) -> tuple[list[Composed], int]:
    """Fill in each person's text; what can't be filled in gets a verdict of its own.

    Nothing is begun after `until` but the first, since rows stay locked and the event log waits for us meanwhile.
    Returns also how many were left.
    """
    if not deliveries:
        return [], 0
    ids = {delivery.profile_id for delivery in deliveries}
    people = content.data(ids)
    authored: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in MessageContent.objects.filter(message_id__in={delivery.message_id for delivery in deliveries}):
        authored.setdefault((row.message_id, row.channel, row.variant), {})[row.locale] = row.content
    contents = [text for locales in authored.values() for text in locales.values()]
    gathered = content.gather(deliveries, contents)
    told = {
        pk: {"profile": people[pk], "computed": values}
        for pk, values in content.computed_for(ids, [*contents, *gathered.snippets.values()]).items()
    }
    texts = _Texts(authored, gathered, links.current())
    composed: list[Composed] = []
    for place, delivery in enumerate(deliveries):
        if place and monotonic() >= until:
            return composed, len(deliveries) - place
        try:
            composed.append(texts.filled(delivery, told[delivery.profile_id]))
        except content.ContentError as error:
            verdicts[delivery.pk] = policies.fail(f"render: {error}")
        except _NoContent:
            verdicts[delivery.pk] = policies.fail(NO_CONTENT)
        except Exception as error:  # one broken row must not hold up the batch
            logger.exception("Delivery %d can't be composed", delivery.pk)
            verdicts[delivery.pk] = policies.fail(f"render: {type(error).__name__}")
    return composed, 0


class _NoContent(Exception):
    """Nothing is written that this person could get."""


class _Template(NamedTuple):
    """What was written for one channel, variant and language, or why it can't be filled in."""

    locale: str
    compiled: content.Compiled | content.ContentError
    named: bool  # whether it may name people's own pages


class _Texts:
    """The texts of a batch. What is the same for many people is found out once."""

    def __init__(
        self,
        authored: Mapping[tuple[int, str, str], Mapping[str, dict[str, Any]]],
        gathered: content.Gathered,
        rules: links.Rules,
    ):
        """Args: authored: the contents by message, channel and variant, then by locale."""
        self._authored = authored
        self._gathered = gathered
        self._rules = rules
        self._templates: dict[tuple[int, str, str, str], _Template] = {}
        self._chosen: dict[tuple[int, str, str, str | None], _Template] = {}

    def filled(self, delivery: Delivery, data: dict[str, Any]) -> Composed:
        """Fill in one person's text.

        Raises:
            ContentError: it can't be filled in, or not be sent.
            _NoContent: there is none.
        """
        channel = channels.get(delivery.channel)
        key = (delivery.message_id, delivery.channel, delivery.variant)
        if key not in self._authored:  # it has no words for this channel, or none any more
            delivery.variant = variants.FIRST
            key = (delivery.message_id, delivery.channel, delivery.variant)
        language = data["profile"].get("language")
        template = self._chosen.get((*key, language))
        if template is None:
            template = self._chosen[*key, language] = self._choose(channel, key, language)
        if isinstance(template.compiled, content.ContentError):
            raise template.compiled
        more = self._gathered.data(delivery, template.locale)
        # Signed for each person, so only where a text may name them.
        pages = preference_links.carried(delivery) if template.named else {}
        filled = template.compiled.render(
            {**delivery.context, **pages, **more, **data}, locale=template.locale
        )
        if delivery.origin_type == Delivery.Origin.TEST:
            filled = content.mark_test(filled)
        delivery.locale = template.locale
        tracker = links.Tracker(delivery, self._rules, channel.tracks_links)
        payload = tracker.compose(channel, filled)
        return Composed(delivery, template.locale, filled, payload, tracker.targets)

    def _choose(self, channel: Channel, key: tuple[int, str, str], language: str | None) -> _Template:
        written = self._authored.get(key, {})
        locale = content.best_locale(written, language)
        if locale is None:
            raise _NoContent
        found = self._templates.get((*key, locale))
        if found is None:
            try:
                compiled = channel.compile(written[locale])
                named = bool(self._gathered.snippets) or compiled.names(preference_links.NAMES)
                found = _Template(locale, compiled, named)
            except content.ContentError as error:
                found = _Template(locale, error, False)
            self._templates[*key, locale] = found
        return found
