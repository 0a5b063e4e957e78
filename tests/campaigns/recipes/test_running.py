"""Some recipes from the first event to the last step, with the real engine and the time passing quickly."""

from datetime import UTC, date, datetime, timedelta

import pytest

from campaigns import recipes
from campaigns.flows import clock, publish, triggers
from campaigns.models import Enrollment, Segment, SegmentMembership
from crm.models import Profile
from delivery.models import Delivery
from tests.campaigns.flows.conftest import NOW, World


@pytest.fixture
def world(transactional_db):
    return World()


def live(slug: str, **options: object):
    flow = recipes.install(slug, options=options)
    publish.publish(flow.pk, now=NOW - timedelta(days=1000))
    return flow


def sent(person: int) -> list[str]:
    return [
        slug.split("-")[-1]
        for slug in Delivery.objects.filter(profile_id=person)
        .order_by("pk")
        .values_list("message__slug", flat=True)
    ]


def state(person: int) -> tuple[str, str]:
    run = Enrollment.objects.get(profile_id=person)
    return run.state, run.reason


def test_welcome_greets_and_offers_a_code_only_to_who_has_not_ordered(world):
    live("welcome")
    ann, bob = world.person("ann"), world.person("bob")
    for person in (ann, bob):
        world.happens(person, "signed_up")
    world.run()
    assert sent(ann) == sent(bob) == ["hello"]
    world.run(hours=5)
    world.happens(bob, "purchase", total=30)
    world.run(days=1)
    assert sent(ann) == ["hello", "offer"]
    assert Delivery.objects.filter(profile_id=ann).latest("pk").context["coupon"]["code"] == "WELCOME10"
    world.run(days=3)
    assert (sent(ann), sent(bob)) == (["hello", "offer", "last"], ["hello"])
    assert (state(ann)[0], state(bob)) == ("completed", ("exited", "goal"))


def test_each_cart_is_reminded_of_once_and_a_purchase_ends_it(world):
    live("abandoned-cart", minimum=50)
    ann, bob, cleo = (world.person(name) for name in ("ann", "bob", "cleo"))
    for person, total in ((ann, 80), (bob, 80), (cleo, 49)):
        world.happens(person, "cart_updated", cart_id="c1", total=total)
    world.run()
    world.run(minutes=29)
    assert sent(ann) == []
    world.run(minutes=2)
    assert (sent(ann), sent(bob), sent(cleo)) == (["remind"], ["remind"], [])
    world.happens(ann, "cart_updated", cart_id="c1", total=90)
    world.happens(bob, "purchase", total=80)
    world.run(days=1, minutes=1)
    assert (sent(ann), sent(bob)) == (["remind", "discount"], ["remind"])
    world.happens(ann, "cart_updated", cart_id="c2", total=60)
    world.run()
    world.run(minutes=31)
    assert sent(ann) == ["remind", "discount", "remind"], "another cart is another run"


def test_birthdays_are_kept_in_the_morning_of_where_people_live_and_on_28_february_in_short_years(world):
    live("birthday")
    leap, other = world.person("leap"), world.person("other")
    Profile.objects.filter(pk=leap).update(birthday=date(2000, 2, 29), timezone="Europe/Warsaw")
    Profile.objects.filter(pk=other).update(birthday=date(1990, 3, 1), timezone="Europe/Warsaw")
    world.now = datetime(2026, 2, 28, 7, 0, tzinfo=UTC)
    kept(world)
    world.run()
    assert sent(leap) == []
    for _each in range(3):
        world.now += timedelta(minutes=61)
        kept(world)
        world.run()
    assert (sent(leap), sent(other)) == (["wishes"], [])
    world.run(days=5)
    assert sent(leap) == ["wishes", "remind"]


def kept(world) -> None:
    while clock.run(world.now):
        pass


def test_win_back_marks_active_who_comes_back_and_leaves_the_others_in_peace(world):
    flow = live("win-back")
    segment = Segment.objects.get(slug=flow.draft["trigger"]["segment"])
    ann, bob = world.person("ann"), world.person("bob")
    for person in (ann, bob):
        world.happens(person, "segment_entered", segment=segment.slug, cause="person")
    world.run()
    world.run(days=10)
    world.happens(ann, "page_viewed")
    world.run(minutes=1)
    assert sent(ann) == ["miss", "hello"]
    assert Profile.objects.get(pk=ann).lifecycle_stage == "active"
    for days in (21, 30, 15):
        world.run(days=days)
    assert sent(bob) == ["miss", "offer", "last"]
    assert Profile.objects.get(pk=bob).lifecycle_stage == "lost"
    assert "consent_changed" in world.names(bob)
    assert (state(ann)[0], state(bob)[0]) == ("completed", "completed")


def test_a_workout_puts_the_reminder_off(world):
    live("workout-time")
    ann = world.person("ann")
    for days in (0, 1):
        world.run(days=days)
        world.happens(ann, "workout_completed", id=f"w{days}")
        world.run()
    world.run(days=1)
    assert sent(ann) == [], "two days after the first workout, one day after the second"
    world.run(hours=23)
    assert sent(ann) == []
    world.run(minutes=31)
    assert sent(ann) == ["time"], "half an hour before the time of day of the last one"


def test_holidays_come_every_year_and_only_those_that_are_named(world, settings):
    settings.TIME_ZONE = "Europe/Warsaw"
    segment = Segment.objects.create(slug="all", name="All")
    SegmentMembership.objects.create(
        segment=segment, profile_id=world.person("ann"), entered_at=NOW - timedelta(days=900)
    )
    kind = triggers.registry["holiday"]
    config = {
        "kind": "holiday",
        "country": "PL",
        "segment": "all",
        "days": ["easter sunday", "Epiphany"],
        "offset": -2,
    }
    assert kind.problems(config) == []
    starts = kind.moments(
        kind.read(config), datetime(2024, 6, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
    )
    # Easter was on 20 April 2025 and 5 April 2026; the clock shows 9 in winter and in summer time.
    assert [start.at for start in starts] == [
        datetime(2025, 1, 4, 8, tzinfo=UTC), datetime(2025, 4, 18, 7, tzinfo=UTC),
        datetime(2026, 1, 4, 8, tzinfo=UTC), datetime(2026, 4, 3, 7, tzinfo=UTC),
    ]  # fmt: skip
    wrong = {**config, "days": ["Mother's Day of the Moon"], "country": "PL", "at": "9"}
    assert {problem.path for problem in kind.problems(wrong)} == {"days", "at"}
    assert {problem.path for problem in kind.problems({**config, "country": "ZZ"})} == {"country"}


@pytest.mark.django_db
def test_the_form_of_holidays_keeps_what_it_shows():
    kind = triggers.registry["holiday"]
    Segment.objects.create(slug="all", name="All")
    config = {"country": "PL", "segment": "all", "days": ["Epiphany", "Easter"], "offset": -2, "at": "10:30"}
    form = kind.Form(kind.initial(config))
    assert form.is_valid(), form.errors
    assert kind.stored(form.cleaned_data) == config
    assert "Poland" in kind.summary(kind.read(config))
