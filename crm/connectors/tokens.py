"""Access tokens that expire, shared by every process that talks to one CRM account."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection as database
from django.utils import timezone

from crm.models import AccessToken

LOCK = 0x6E76  # with the connection's id, the advisory lock of whoever fetches a token
EARLY = timedelta(seconds=60)  # a token about to expire is not used any more


def discreet(text: str, *secrets: str) -> str:
    """What a CRM said about a login, without the secrets it was given: errors are stored and shown.

    A text that is cut must be given here before it is cut.
    """
    for secret in sorted(filter(None, map(str.strip, secrets)), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


class Token(msgspec.Struct, frozen=True):
    """An access token.

    Args:
        expires_at: None if the CRM does not say.
        extra: what came with it and is needed as long as it lives, such as the address of the API.
    """

    value: str
    expires_at: datetime | None = None
    extra: dict[str, str] = {}

    def usable(self, refused: str | None, now: datetime) -> bool:
        """Whether it is worth a try: not the one just refused, and not about to expire."""
        return self.value != refused and (self.expires_at is None or self.expires_at > now + EARLY)


Fetch = Callable[[Token | None], Token]


class Tokens:
    """Keeps the token of one account in memory: for trying credentials that are not stored yet."""

    mark = ""  # changes with the settings and credentials by which tokens are fetched

    def __init__(self) -> None:
        self._held: Token | None = None

    def get(self, fetch: Fetch, refused: str | None = None) -> Token:
        """The present token, or a new one from `fetch`, which is given the old one.

        Args:
            refused: a token that the CRM has just refused. If another process has replaced it meanwhile, its
                token is given and nothing is fetched.
        """
        now = timezone.now()
        if self._held is not None and self._held.usable(refused, now):
            return self._held
        with self._alone():
            held = self._load()
            if held is None or not held.usable(refused, now):
                held = fetch(held)
                self._store(held)
        self._held = held
        return held

    @contextmanager
    def _alone(self) -> Iterator[None]:
        yield

    def _load(self) -> Token | None:
        return self._held

    def _store(self, token: Token) -> None:
        pass


class StoredTokens(Tokens):
    """Keeps the token of a stored connection, encrypted; one process fetches, the others wait for it.

    Args:
        secret: settings and credentials by which tokens are fetched. One fetched by others is not used: a run that
            began before they were changed may store its own at any time.
    """

    def __init__(self, connection_id: int, secret: Any = None) -> None:
        super().__init__()
        self.connection_id = connection_id
        self.mark = hashlib.blake2b(msgspec.json.encode(secret, order="sorted"), digest_size=16).hexdigest()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # No row lock: a transaction that lasts as long as a call to the CRM would hold up the log's readers.
        key = [LOCK, self.connection_id]
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", key)
        try:
            yield
        finally:
            with database.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)

    def _load(self) -> Token | None:
        row = AccessToken.objects.filter(connection_id=self.connection_id).first()
        held: Any = row.token if row else None  # JSON, though its field is kept as text
        return msgspec.convert(held, Token) if held and held.get("mark") == self.mark else None

    def _store(self, token: Token) -> None:
        held: Any = {**msgspec.to_builtins(token), "mark": self.mark}
        AccessToken.objects.update_or_create(connection_id=self.connection_id, defaults={"token": held})
