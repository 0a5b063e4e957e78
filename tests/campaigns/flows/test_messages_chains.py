"""What a fallback chain does next, against a reference that knows beforehand what will become of each message."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.flows import chains
from campaigns.flows.chains import Done, Hold, Link, Queue, Queued
from crm.rules.moments import Span
from delivery.models import Delivery

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)
EXPIRY = 2000  # minutes
State = Delivery.State


def at(minute):
    return None if minute is None else NOW + timedelta(minutes=minute)


FATES = st.fixed_dictionaries(
    {
        "sent": st.booleans(),
        "after": st.integers(0, 300),
        "opened": st.none() | st.integers(1, 900),
        "clicked": st.none() | st.integers(1, 900),
        "wait": st.integers(1, 400),
        "unless": st.sampled_from(["opened", "clicked", "sent"]),
    }
)


class Person:
    """Somebody for whom it is known what will become of the message by each channel."""

    def __init__(self, fates):
        self.fates = fates
        self.queued: list[int] = []  # the minute, by place in the chain

    def settles(self, place):
        """When a message is sent or lost, and whether it is sent. One that has to be sent in time expires else."""
        fate, since = self.fates[place], self.queued[place]
        last = place == len(self.fates) - 1
        if fate["unless"] == "sent" and not last and fate["after"] >= fate["wait"]:
            return since + fate["wait"], False
        return since + fate["after"], fate["sent"]

    def engaged(self, place, name):
        minute, sent = self.settles(place)
        return minute + self.fates[place][name] if sent and self.fates[place][name] is not None else None

    def met(self, place, unless):
        """When a message was opened, clicked or sent; None for never."""
        minute, sent = self.settles(place)
        if unless == "sent":
            return minute if sent else None
        found = [
            self.engaged(place, name)
            for name in ({"opened", "clicked"} if unless == "opened" else {"clicked"})
        ]
        return min((minute for minute in found if minute is not None), default=None)

    def seen(self, minute):
        """What the outbox and the log hold at a minute."""
        rows = []
        for place, since in enumerate(self.queued):
            settled, sent = self.settles(place)
            past = settled <= minute
            opened, clicked = (self.engaged(place, name) for name in ("opened", "clicked"))
            rows.append(
                Queued(
                    f"c{place}",
                    (State.SENT if sent else State.FAILED) if past else State.DEFERRED,
                    at(since),
                    at(since + EXPIRY),
                    at(settled) if past and sent else None,
                    at(opened) if opened is not None and opened <= minute else None,
                    at(clicked) if clicked is not None and clicked <= minute else None,
                )
            )
        return rows

    def happenings(self):
        """The minutes at which something becomes known that wakes the chain."""
        for place in range(len(self.queued)):
            yield self.settles(place)[0]
            yield from (m for name in ("opened", "clicked") if (m := self.engaged(place, name)) is not None)


def reference(person):
    """Queue one after the other; return why it ended."""
    now = 0
    for place, fate in enumerate(person.fates):
        person.queued.append(now)
        if place == len(person.fates) - 1:
            return "last"
        settled, sent = person.settles(place)
        ends = settled + (fate["wait"] if sent and fate["unless"] != "sent" else 0)
        met = [person.met(earlier, fate["unless"]) for earlier in range(place + 1)]
        # Lost at this minute: what is known by then counts. Sent: the message has until the minute the wait ends.
        if any(m is not None and (m < ends or (m == ends and ends == settled)) for m in met):
            return fate["unless"]
        now = ends
    raise AssertionError


def chain_of(fates):
    links = [
        Link(f"c{place}", Span(minutes=fate["wait"]), fate["unless"]) for place, fate in enumerate(fates[:-1])
    ]
    return [*links, Link(f"c{len(fates) - 1}")]


@given(st.lists(FATES, min_size=2, max_size=4), st.lists(st.integers(0, 1500), max_size=5))
@settings(deadline=None, max_examples=120)
def test_each_channel_has_its_turn_when_the_one_before_did_not_do(fates, also):
    expected = Person(fates)
    why = reference(expected)
    person, chain, asks, ended = Person(fates), chain_of(fates), {0, *also}, None
    while asks and ended is None:
        minute = min(asks)
        asks.discard(minute)
        move = chains.decide(chain, person.seen(minute), len(person.queued), at(minute))
        if isinstance(move, Queue):
            assert move.link == chain[len(person.queued)]
            person.queued.append(minute)
            assert move.last == (len(person.queued) == len(chain))
            if move.link.unless == "sent" and not move.last:
                assert move.expires_at == at(minute) + move.link.length
            if move.last:
                ended = "last"
            asks |= {minute, *(m for m in person.happenings() if m >= minute)}
        elif isinstance(move, Hold):
            assert move.until > at(minute)
            asks.add(int((move.until - NOW).total_seconds() // 60))
            again = chains.decide(chain, person.seen(minute), len(person.queued), at(minute))
            assert again == move
        else:
            ended = move.because
    assert (person.queued, ended) == (expected.queued, why)


def test_nothing_is_sent_when_what_was_sent_is_no_longer_known():
    chain = chain_of([{"wait": 5, "unless": "opened"}] * 3)
    assert chains.decide(chain, [], 1, NOW) == Done("gone")


def test_what_was_sent_a_moment_too_late_was_sent_all_the_same():
    chain = chain_of([{"wait": 5, "unless": "sent"}] * 2)
    assert chains.decide(chain, [Queued("c0", State.SENT, NOW, at(5), at(6))], 1, at(6)) == Done("sent", "c0")
    for minute, until in ((1, 5), (4, 5), (6, 7)):
        waiting = [Queued("c0", State.SENDING, NOW, at(5))]
        assert chains.decide(chain, waiting, 1, at(minute)) == Hold(at(until))


def test_a_chain_that_was_changed_meanwhile_sends_by_no_channel_twice():
    sent = Queued("c1", State.SENT, NOW, at(EXPIRY), NOW)
    chain = chain_of([{"wait": 5, "unless": "opened"}] * 3)
    move = chains.decide(chain, [sent], 0, at(5))
    assert (move.link.channel, move.last) == ("c0", False)
    both = [sent, Queued("c0", State.FAILED, at(5), at(EXPIRY))]
    move = chains.decide(chain, both, 2, at(6))
    assert (move.link.channel, move.last) == ("c2", True)
    assert chains.decide(chain[:2], both, 2, at(6)) == Done("all tried")
