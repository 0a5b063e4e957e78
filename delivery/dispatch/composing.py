"""Filling in what each person gets, just before it goes out."""

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any

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
    compiled: dict[tuple[int, str, str, str], content.Compiled | content.ContentError] = {}
    rules = links.current()
    composed: list[Composed] = []
    for place, delivery in enumerate(deliveries):
        if place and monotonic() >= until:
            return composed, len(deliveries) - place
        try:
            composed.append(
                _compose_one(delivery, told[delivery.profile_id], gathered, authored, compiled, rules)
            )
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


def _compose_one(
    delivery: Delivery,
    data: dict[str, Any],
    gathered: content.Gathered,
    authored: Any,
    compiled: Any,
    rules: links.Rules,
) -> Composed:
    channel: Channel = channels.get(delivery.channel)
    key = (delivery.message_id, delivery.channel, delivery.variant)
    if key not in authored:  # it has no words for this channel, or none any more
        delivery.variant = variants.FIRST
        key = (delivery.message_id, delivery.channel, delivery.variant)
    locale = content.best_locale(authored.get(key, {}), data["profile"].get("language"))
    if locale is None:
        raise _NoContent
    if (*key, locale) not in compiled:
        try:
            compiled[*key, locale] = channel.compile(authored[key][locale])
        except content.ContentError as error:
            compiled[*key, locale] = error
    template = compiled[*key, locale]
    if isinstance(template, content.ContentError):
        raise template
    more = gathered.data(delivery, locale)
    # Signed for each person, so only where a text may name them.
    named = gathered.snippets or template.names(preference_links.NAMES)
    pages = preference_links.carried(delivery) if named else {}
    filled = template.render({**delivery.context, **pages, **more, **data}, locale=locale)
    if delivery.origin_type == Delivery.Origin.TEST:
        filled = content.mark_test(filled)
    delivery.locale = locale
    tracker = links.Tracker(delivery, rules, channel.tracks_links)
    payload = tracker.compose(channel, filled)
    return Composed(delivery, locale, msgspec.to_builtins(filled), payload, tracker.targets)
