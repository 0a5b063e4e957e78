"""What the policies say about one delivery after the other, written as plainly as can be and for one person at a time.

Hours are looked at minute by minute, limits by counting the whole history again. Nothing here is shared with the
product but the words of the reasons.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LENGTHS = {"hour": 60, "day": 1440, "week": 7 * 1440, "month": 30 * 1440}  # minutes
NOT_SENT = {"suppressed", "failed", "expired"}


@dataclass
class Hours:
    kind: str
    start: time
    end: time
    days: list[int]
    channel: str = ""


@dataclass
class Cap:
    number: int
    period: str
    rolling: bool
    channel: str
    counts: str
    spares: int


@dataclass
class Level:
    own_quiet: bool = False
    own_windows: bool = False
    only_own_caps: bool = False
    when_capped: str = ""
    collision: str = ""
    collision_hours: int = 24
    adults_only: bool = False
    hours: list[Hours] = field(default_factory=list)
    caps: list[Cap] = field(default_factory=list)


@dataclass
class Person:
    zone: str
    birthday: date | None = None
    quiet: tuple[time, time] | None = None
    weekly: bool = False


@dataclass
class Letter:
    number: int
    message: int  # of two; the first is about the topic
    channel: str
    priority: int
    expires_at: datetime
    skips: bool = False
    state: str = "queued"
    reason: str = ""
    at: datetime | None = None


def topic(letter: Letter) -> str:
    return "news" if letter.message == 0 else ""


def verdict(
    letter: Letter,
    levels: dict[str, Level],
    person: Person,
    history: list[Letter],
    skip_unknown: bool,
    group: bool,
    now: datetime,
) -> tuple[str, str, datetime | None] | None:
    """State, reason and when to look again; None: it goes out. `history` holds all other letters of the person."""
    own = [levels["account"]]
    own += [levels["topic"]] if topic(letter) and "topic" in levels else []
    own += [levels["message"]] if letter.message == 0 and "message" in levels else []
    names = ["account", *(["topic"] if topic(letter) and "topic" in levels else [])]
    names += ["message"] if letter.message == 0 and "message" in levels else []
    zone = ZoneInfo(person.zone)
    if any(level.adults_only for level in own):
        if person.birthday is None:
            if skip_unknown:
                return "suppressed", "for adults only, age unknown", None
        elif years(person.birthday, now.astimezone(zone).date()) < 18:
            return "suppressed", "for adults only", None

    quiet = next(
        [h for h in level.hours if h.kind == "quiet"]
        for name, level in reversed(list(zip(names, own, strict=True)))
        if level.own_quiet or name == "account" or any(h.kind == "quiet" for h in level.hours)
    )
    windows = next(
        [h for h in level.hours if h.kind == "window"]
        for name, level in reversed(list(zip(names, own, strict=True)))
        if level.own_windows or name == "account" or any(h.kind == "window" for h in level.hours)
    )
    quiet = [h for h in quiet if h.channel in ("", letter.channel)]
    windows = [h for h in windows if h.channel in ("", letter.channel)]

    def against(at: datetime) -> str:
        shown = at.astimezone(zone)
        if person.quiet and inside(Hours("quiet", *person.quiet, [1, 2, 3, 4, 5, 6, 7]), shown):
            return "quiet hours of the person"
        if any(inside(h, shown) for h in quiet):
            return "quiet hours"
        return "outside the send window" if windows and not any(inside(h, shown) for h in windows) else ""

    reason = against(now)
    if reason:
        at = now.replace(second=0, microsecond=0)
        while at <= now or against(at):
            at += timedelta(minutes=1)
            if at >= letter.expires_at:
                if letter.skips:
                    return "suppressed", reason, None
                return "expired", "no allowed hour before it expires", None
        return ("suppressed", reason, None) if letter.skips else ("deferred", reason, at)

    sent = [
        other
        for other in history
        if other.at is not None and (other.state not in NOT_SENT or other.reason == "unknown outcome")
    ]
    collision, hours = "", 24
    for level in own:
        if level.collision:
            collision, hours = level.collision, level.collision_hours
    if collision == "sent" and any(
        other.channel != letter.channel
        and now - other.at < timedelta(hours=hours)
        and (other.message == letter.message or group)
        for other in sent
    ):
        return "suppressed", "sent by another channel", None

    caps: list[tuple[Cap, str]] = []
    for name, level in zip(names, own, strict=True):
        if level.only_own_caps:
            caps = []
        for cap in level.caps:
            of = name if name != "account" else {"all": "all", "topic": "topic"}[cap.counts]
            caps.append((cap, of))
    skip = False
    for level in own:
        if level.when_capped:
            skip = level.when_capped == "skip"
    refusals = []
    for cap, of in caps:
        if cap.channel not in ("", letter.channel) or letter.priority <= cap.spares:
            continue
        if of == "topic" and not topic(letter):
            continue
        counted = [other for other in sent if counts(cap, of, letter, other)]
        until = full(cap, counted, zone, now)
        if until:
            tail = {"all": "", "topic": " about the topic", "message": " of this message"}[of]
            by = f" by {cap.channel}" if cap.channel else ""
            kind = "a" if cap.rolling else "a calendar"
            refusals.append((until, f"limit: {cap.number} {kind} {cap.period}{tail}{by}"))
    if person.weekly and topic(letter):
        until = full(Cap(1, "week", True, "", "topic", 0), [o for o in sent if topic(o) == "news"], zone, now)
        if until:
            refusals.append((until, "wants it at most once a week"))
    if not refusals:
        return None
    last = max(until for until, _ in refusals)
    reason = next(why for until, why in refusals if until == last)
    if skip or letter.skips or last >= letter.expires_at:
        return "suppressed", reason, None
    return "deferred", reason, last


def counts(cap: Cap, of: str, letter: Letter, other: Letter) -> bool:
    if cap.channel and other.channel != cap.channel:
        return False
    if of == "topic":
        return topic(other) == topic(letter)
    return of != "message" or other.message == letter.message


def full(cap: Cap, counted: list[Letter], zone: ZoneInfo, now: datetime) -> datetime | None:
    """When there is room again under a limit that is used up."""
    if cap.rolling:
        length = timedelta(minutes=LENGTHS[cap.period])
        at = now
        while sum(other.at > at - length for other in counted) >= cap.number:
            at = min(other.at for other in counted if other.at > at - length) + length
        return at if at > now else None
    today = stamp(cap.period, now.astimezone(zone))
    # Whatever was sent in this period, and what another clock says was sent a moment later than now.
    if (
        sum(other.at > now or stamp(cap.period, other.at.astimezone(zone)) == today for other in counted)
        < cap.number
    ):
        return None
    at = now.replace(second=0, microsecond=0)
    while stamp(cap.period, at.astimezone(zone)) == today or at <= now:
        at += timedelta(minutes=1)
    return at


def stamp(period: str, shown: datetime) -> tuple:
    """What tells one period of the calendar from the next."""
    if period == "hour":
        return shown.date(), shown.hour, shown.utcoffset()
    if period == "week":
        return tuple(shown.isocalendar()[:2])
    return (shown.date(),) if period == "day" else (shown.year, shown.month)


def inside(hours: Hours, shown: datetime) -> bool:
    clock, today, yesterday = (
        shown.time(),
        shown.isoweekday(),
        (shown.date() - timedelta(days=1)).isoweekday(),
    )
    if hours.start < hours.end:
        return hours.start <= clock < hours.end and today in hours.days
    return (today in hours.days and clock >= hours.start) or (yesterday in hours.days and clock < hours.end)


def years(born: date, today: date) -> int:
    age = today.year - born.year
    return age if (today.month, today.day) >= (born.month, born.day) else age - 1
