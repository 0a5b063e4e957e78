"""What providers have in common that take one HTTP request for each message."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from delivery import httpclient, pushhosts, webhook_hosts
from delivery.channels.base import Outcome, Parcel, Result
from delivery.providers.base import Provider, ProviderError, Sender

PAUSE_AFTER = (
    3  # refusals of our account, with nothing accepted, after which the rest of a batch is not tried
)
LONGEST_WISH = timedelta(days=1)
KEPT = 65_536  # bytes of an answer
NOT_TRIED = "not tried: the provider has just refused our account"


class HttpProvider(Provider):
    """Sends many requests at once. A subclass says what to ask for one parcel and what the answer means.

    What is not repeatable is never asked twice: a request that went out and was not answered is reported as begun
    (`Outcome.STARTED`), one that never reached the service as to be tried again.
    """

    hosts = webhook_hosts.PROVIDERS  # the setting in which the operator names private hosts

    @abstractmethod
    def prepare(self, sender: Sender, now: datetime) -> Any:
        """Return what all requests of a batch share, such as the headers."""

    @abstractmethod
    def request(self, shared: Any, sender: Sender, parcel: Parcel) -> "Wanted":
        """Return the request for one parcel."""

    @abstractmethod
    def understand(self, sender: Sender, parcel: Parcel, answer: "Answer", now: datetime) -> Result:
        """Return what an answer with a status means."""

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Ask for each parcel; see Provider.send."""
        shared = self.prepare(sender, now)
        once = not self.repeatable(sender.config)
        unsent: list[Result] = []
        refused = accepted = 0

        def requests() -> Iterator[httpclient.Request[Parcel]]:
            for parcel in parcels:
                if refused >= PAUSE_AFTER and not accepted:
                    unsent.append(
                        Result(parcel.number, Outcome.CONFIGURATION, None, NOT_TRIED, group=sender.name)
                    )
                    continue
                wanted = self.request(shared, sender, parcel)
                try:
                    trusted = webhook_hosts.look_at(wanted.url, self.hosts).trusted
                except webhook_hosts.BadAddress as error:
                    unsent.append(Result(parcel.number, self._barred, None, str(error), group=sender.name))
                    continue
                yield httpclient.Request(
                    parcel,
                    wanted.url,
                    wanted.headers,
                    wanted.body,
                    trusted,
                    method=wanted.method,
                    keep=KEPT,
                    once=once,
                )

        for response in httpclient.client(pushhosts.public).post(requests()):
            result = self._result(sender, response, once, now)
            refused += result.outcome == Outcome.CONFIGURATION
            accepted += result.outcome == Outcome.ACCEPTED
            yield result
            while unsent:
                yield unsent.pop()
        yield from unsent

    @property
    def _barred(self) -> Outcome:
        """What an address means that may not be called: an account's can be set right, a message's is what it is."""
        return Outcome.CONFIGURATION if self.hosts == webhook_hosts.PROVIDERS else Outcome.REFUSED

    def _result(
        self, sender: Sender, response: httpclient.Response[Parcel], once: bool, now: datetime
    ) -> Result:
        number = response.tag.number
        if response.refused:
            return Result(number, self._barred, None, response.error, group=sender.name)
        if not response.status:
            outcome = Outcome.STARTED if once and response.begun else Outcome.RETRY
            return Result(number, outcome, None, response.error)
        result = self.understand(sender, response.tag, Answer(response), now)
        if not once and result.outcome == Outcome.STARTED:
            return msgspec.structs.replace(result, outcome=Outcome.RETRY)
        return result


class Wanted(msgspec.Struct, frozen=True):
    """A request for one message."""

    url: str
    headers: list[str]
    body: bytes
    method: str = "POST"


class Answer:
    """An answer, with its JSON if it is an object."""

    def __init__(self, response: httpclient.Response[Any]):
        self.status = response.status
        self.headers = response.headers
        self.body = response.body

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def wish(self, now: datetime) -> timedelta | None:
        """When to come again by Retry-After: seconds or a date (RFC 9110, section 10.2.3); None: it does not say."""
        told = self.headers.get("retry-after", "").strip()
        if told.isascii() and told.isdigit():
            return min(timedelta(seconds=int(told[:9])), LONGEST_WISH)
        try:
            at = parsedate_to_datetime(told)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max(at - now, timedelta()), LONGEST_WISH)


def usual(status: int) -> Outcome:
    """What a status means that the service says nothing more about.

    503 and 429 say that the request was not taken. Of other failures of the service nobody knows whether the message
    went out before.
    """
    if 200 <= status < 300:
        return Outcome.ACCEPTED
    if status in (408, 425, 429, 503):
        return Outcome.RETRY
    if status in (401, 403):
        return Outcome.CONFIGURATION
    return Outcome.STARTED if status >= 500 else Outcome.REFUSED


def fetch(url: str, headers: list[str], method: str = "GET", hosts: str = webhook_hosts.PROVIDERS) -> Answer:
    """Ask a service something that sends nothing; see `ask`."""
    return ask(url, headers, method, b"", hosts)


def ask(
    url: str, headers: list[str], method: str, body: bytes, hosts: str = webhook_hosts.PROVIDERS
) -> Answer:
    """Make one call that sends no message.

    Raises:
        ProviderError: it may not be made or is not answered.
    """
    try:
        trusted = webhook_hosts.look_at(url, hosts).trusted
    except webhook_hosts.BadAddress as error:
        raise ProviderError(str(error)) from None
    wanted = httpclient.Request(None, url, headers, body, trusted, method=method, seconds=15, keep=4_000_000)
    [response] = httpclient.client(pushhosts.public).post([wanted])
    if not response.status:
        raise ProviderError(f"The service does not answer: {response.error}")
    return Answer(response)


def safe(value: str) -> str:
    """A value as it may stand in a header or path: a line break would begin another header."""
    return "".join(character for character in value if character.isprintable())
