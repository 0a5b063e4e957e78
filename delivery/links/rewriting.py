"""Replacing the links of one person's message by tracked ones, just before it goes out."""

from typing import Any

import msgspec
from django.conf import settings

from delivery.channels.base import Channel
from delivery.content.addresses import is_web
from delivery.links import tokens, utm
from delivery.models import Delivery, LinkSettings, Message


class Rules(msgspec.Struct, frozen=True):
    """What becomes of links: the settings, as they are for a batch.

    `base` is what tracked links begin with, `ours` what the pages begin with that people choose and leave on: those
    links are never touched.
    """

    base: str
    ours: str
    untracked: frozenset[str]
    opens: bool
    sites: tuple[str, ...]
    untouched: tuple[str, ...]
    words: dict[str, str]

    @property
    def length(self) -> int:
        """How many characters each tracked link has."""
        return tokens.short_length(self.base)

    def tracks(self, channel: str, message: Message) -> bool:
        """Whether links of this message by this channel are tracked."""
        if message.tracking != Message.Tracking.ACCOUNT:
            return message.tracking == Message.Tracking.ON
        return channel not in self.untracked


def current() -> Rules:
    """Return the rules, in one query."""
    row = LinkSettings.load()
    public = settings.NUDGE_PUBLIC_URL.rstrip("/")
    words = {name: getattr(row, name) for name in utm.NAMES}
    return Rules(
        base=row.short_domain or public,
        ours=f"{public}/p/",
        untracked=frozenset(row.untracked_channels),
        opens=row.track_opens,
        sites=tuple(row.own_hosts),
        untouched=tuple(row.untouched_hosts),
        words={name: word for name, word in words.items() if word} if row.own_hosts else {},
    )


class Tracker:
    """Takes the links of one delivery; `targets` is where they lead, by their number."""

    def __init__(self, delivery: Delivery, rules: Rules, tracked: bool = True):
        """Args: delivery: with its message; tracked: False for channels whose devices tell of clicks themselves."""
        self.targets: list[str] = []
        self._delivery = delivery
        self._rules = rules
        self._on = rules.tracks(delivery.channel, delivery.message)
        self._tracked = tracked and self._on
        self._numbers: dict[str, int] = {}
        self._made: dict[str, str] = {}
        self._words: dict[str, str] = {}
        if rules.words:
            values = {
                "message": delivery.message.slug,
                "channel": delivery.channel,
                "variant": delivery.variant,
            }
            self._words = {name: utm.filled(pattern, values) for name, pattern in rules.words.items()}

    def compose(self, channel: Channel, content: Any) -> Any:
        """Return what the channel sends of a filled-in content, with its links replaced.

        Raises:
            ContentError: see `Channel.compose`.
        """
        if not (self._tracked or self._words):
            return channel.compose(self._delivery, content)
        payload = channel.compose(self._delivery, channel.relink(content, self.link))
        picture = ""
        if self._on and self._rules.opens:
            picture = f"{self._rules.base}/o/{tokens.make(self._delivery.pk, kind='open')}.gif"
        return channel.relink_payload(payload, self.link, picture)

    def link(self, url: str) -> str:
        """Return what stands for an address in this message: a tracked link, the address with the account's words, or
        the address itself where it is none of the web, is one of our own pages, or opens an app."""
        made = self._made.get(url)
        if made is None:
            made = self._made[url] = self._link(url)
        return made

    def _link(self, url: str) -> str:
        if not url or url.startswith(self._rules.ours):
            return url
        host = utm.host_of(url)
        if not host and not url.startswith("/"):
            return url
        if utm.belongs(host, self._rules.untouched):
            return url
        target = url
        if self._words and (not host or utm.belongs(host, self._rules.sites)):
            target = utm.tagged(url, self._words)
        if not self._tracked or not is_web(target):
            return target
        number = self._numbers.get(target, len(self.targets))
        if number >= tokens.MAX_LINKS:
            return target
        if number == len(self.targets):
            self._numbers[target] = number
            self.targets.append(target)
        return f"{self._rules.base}/l/{tokens.make(self._delivery.pk, number)}"
