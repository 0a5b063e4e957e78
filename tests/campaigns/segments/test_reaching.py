"""Who can be reached, as segments and broadcasts tell it, is who sending would let through."""

from datetime import UTC, datetime
from itertools import product

import pytest
from django.utils import timezone

from campaigns import audience
from campaigns.models import Broadcast, Segment
from campaigns.segments import evaluate, grammar
from crm.models import Consent, Topic
from delivery import channels
from delivery.models import Delivery
from delivery.policies import Facts, consent, reachability, suppression
from tests.campaigns.segments import surroundings
from tests.campaigns.segments.population import store
from tests.campaigns.segments.reference import Browser, Person
from tests.delivery import world

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ANSWERS = [None, "subscribed", "unsubscribed", "pending"]
# Active and made with our key; gone; made with another; and which of them are suppressed for which channel.
BROWSERS = [
    ([], set()),
    ([(True, True)], set()),
    ([(False, True)], set()),
    ([(True, False)], set()),
    ([(True, True)], {("webpush", 0)}),
    ([(True, True)], {("all", 0)}),
    ([(True, True)], {("inapp", 0)}),
    ([(True, True), (True, True)], {("webpush", 0)}),
    ([(True, True), (False, True)], {("webpush", 0), ("all", 1)}),
]


def people(question):
    made = [
        Person(
            columns={"email": email},
            consents={("channel", name): answer for name in surroundings.CHANNELS if answer}
            | ({question: about} if about else {}),
            devices=[Browser("", *which) for which in browsers],
            suppressed=set(suppressed),
            visited=visited,
        )
        for answer, about, (browsers, suppressed) in product(ANSWERS, ANSWERS, BROWSERS)
        for email, visited in ((None, True), ("a@example.com", False))
    ]
    made[5].columns["email"] = "b@example.com"
    made[5].suppressed |= {("memory", "b@example.com")}
    return made


def let_through(channel, topic, ids):
    """Whom the policies of sending have nothing against."""
    message = world.message(f"m-{channel}-{topic}", topic=topic, channel=channel)
    deliveries = [
        Delivery(pk=pk, profile_id=pk, message=message, channel=channel, expires_at=NOW) for pk in ids
    ]
    facts = Facts(dict(channels.get(channel).addresses(ids)))
    refused = set()
    for judge in (consent.judge, suppression.judge, reachability.judge):
        refused |= set(judge(deliveries, facts, NOW))
    return set(ids) - refused, message


@pytest.mark.parametrize("needs_yes", [True, False])
def test_it_is_who_sending_lets_through(needs_yes):
    surroundings.make()
    Topic.objects.create(slug="news", name="News", needs_yes=needs_yes)
    everybody = Segment.objects.create(slug="everybody", name="Everybody", rule={"all": []})
    ids = store(people(("topic", "news")))
    for channel in surroundings.CHANNELS:
        expected, _message = let_through(channel, "", ids)
        rule = grammar.parse({"kind": "reachable", "channel": channel})
        assert 0 < len(expected) < len(ids)
        assert set(evaluate.members(rule, NOW)) == expected
        assert evaluate.matching(rule, ids[::3], NOW) == expected & set(ids[::3])
        expected, message = let_through(channel, "news", ids)
        found = audience.reach(Broadcast(segment=everybody, message=message, channel=channel), NOW)
        assert (found.size, found.reachable) == (len(ids), len(expected))


def test_a_message_by_a_channel_that_is_gone_reaches_nobody():
    store([Person(consents={("channel", "fax"): "subscribed"})])
    everybody = Segment.objects.create(slug="everybody", name="Everybody", rule={"all": []})
    broadcast = Broadcast(segment=everybody, message=world.message(), channel="fax")
    assert audience.reach(broadcast, timezone.now()) == audience.Reach(1, 0, 0)
    assert Consent.objects.count() == 1


def test_it_is_told_why_somebody_can_not_be_reached():
    surroundings.make()
    yes = {("channel", "webpush"): "subscribed"}
    ids = store(
        [
            Person(devices=[Browser("")]),
            Person(consents=yes),
            Person(consents=yes, devices=[Browser("")], suppressed={("all", 0)}),
            Person(consents=yes, devices=[Browser(""), Browser("", active=False)]),
        ]
    )
    rule = grammar.parse({"kind": "reachable", "channel": "webpush"})
    told = [evaluate.explain(rule, pk, NOW) for pk in ids]
    assert [(one.holds, one.fact) for one in told] == [
        (False, "No consent"),
        (False, "No address"),
        (False, "The address is suppressed"),
        (True, "1 address"),
    ]
