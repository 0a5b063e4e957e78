"""Faults that a push service can be told to show, one script per subscription."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """What happens to one push.

    `status` None processes the push normally. `delay` seconds pass before the answer. `hold` keeps the answer
    back until `PushService.release()`. `close` drops the connection instead of answering. With `accept` the
    message is taken and delivered all the same and only the answer suffers: the sender cannot know.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errno: int | None = None
    delay: float = 0.0
    hold: bool = False
    close: bool = False
    accept: bool = False

    @classmethod
    def not_found(cls) -> "Fault":
        """404: the endpoint is unknown."""
        return cls(404, errno=102)

    @classmethod
    def gone(cls) -> "Fault":
        """410: the user has unsubscribed."""
        return cls(410, {"Cache-Control": "max-age=86400"}, errno=106)

    @classmethod
    def too_large(cls) -> "Fault":
        """413: the service takes less than the sender sent."""
        return cls(413, errno=104)

    @classmethod
    def too_many(cls, retry_after: int | str | None = 1) -> "Fault":
        """429, with Retry-After in seconds or as an HTTP date; None leaves it out."""
        return cls(429, {} if retry_after is None else {"Retry-After": str(retry_after)}, errno=201)

    @classmethod
    def unavailable(cls, retry_after: int | str | None = None) -> "Fault":
        """503, with or without Retry-After."""
        return cls(503, {} if retry_after is None else {"Retry-After": str(retry_after)}, errno=201)

    @classmethod
    def answer(cls, status: int, headers: Mapping[str, str] | None = None) -> "Fault":
        """Any other status, e.g. 401, 403 or 500."""
        return cls(status, headers or {})

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """A good answer, `seconds` late."""
        return cls(delay=seconds)

    @classmethod
    def held(cls, accept: bool = True) -> "Fault":
        """No answer until `PushService.release()`; with `accept` the message is delivered at once."""
        return cls(hold=True, accept=accept)

    @classmethod
    def closed(cls, accept: bool = False) -> "Fault":
        """The connection breaks without an answer, before or (`accept`) after the message was taken."""
        return cls(close=True, accept=accept)
