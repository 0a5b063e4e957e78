"""Ready segments and the quick start from purchases: built from what the site records, and right."""

import re
import uuid
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import Segment, SegmentSize
from campaigns.segments import editing, evaluate, gallery, grammar, rfm, roles, sampling, topspenders
from config.demo import content, sizes
from crm import log, masking
from crm.models import Place, Profile

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.clear()


def url(name):
    return reverse(f"admin:campaigns_segment_{name}")


def happened(*events):
    """Store events, each as person, name, days ago, and properties if any."""
    now = timezone.now()
    log.append(
        [
            log.NewEvent(uuid.uuid4(), person.pk, name, now - days * DAY, more[0] if more else {}, "test")
            for person, name, days, *more in events
        ]
    )


@pytest.fixture
def shop():
    """Six people at different points of their life with a shop that has names of its own for two events."""
    now = timezone.now()
    people = {
        name: Profile.objects.create(first_name=name, last_seen=now - days * DAY, first_seen=now - 200 * DAY)
        for name, days in (("fan", 1), ("cart", 2), ("look", 3), ("gone", 45), ("lost", 300), ("old", 70))
    }
    happened(
        *((people["fan"], "order_paid", days, {"total": 40, "vat": 8}) for days in (2, 30, 100)),
        (people["fan"], "product_viewed", 2),
        (people["cart"], "basket_filled", 2),
        *((people["look"], "product_viewed", days) for days in (1, 2, 3)),
        *((people["old"], "order_paid", days, {"total": 10}) for days in (80, 120)),
        (people["lost"], "order_paid", 320, {"total": 10}),
    )
    return people


def found(slug, people, chosen=None):
    """Names of the people in a ready segment."""
    card = gallery.card(gallery.get(slug), roles.find(chosen))
    ids = set(evaluate.members(grammar.parse(card.rule)))
    return {name for name, person in people.items() if person.pk in ids}


class TestReady:
    def test_each_holds_for_whom_it_says(self, shop):
        expected = {
            "active": {"look"},
            "lapsed-30": {"gone"},
            "lapsed-60": {"old"},
            "lapsed-90": {"lost"},
            "almost-buyers": {"look"},
            "buyers": {"fan"},
            "first-order": {"lost"},
            "repeat-buyers": {"fan", "old"},
            "at-risk": {"old"},
            "vip": {"fan"},
            "lookers": {"look"},
            "unreachable": set(shop),
        }
        assert {slug: found(slug, shop) for slug in expected} == expected

    def test_a_shop_s_own_names_are_asked_for(self, admin_client, shop):
        page = admin_client.get(url("gallery")).text
        assert "Choose above which event is a full cart." in page
        assert "ready=cart-abandoners" not in page
        page = admin_client.get(url("gallery") + "?cart=basket_filled").text
        link = re.search(r'href="([^"]*ready=cart-abandoners[^"]*)"', page)[1].replace("&amp;", "&")
        assert found("cart-abandoners", shop, {"cart": "basket_filled"}) == {"cart"}
        builder = admin_client.get(link).text
        assert 'value="Cart abandoners"' in builder
        assert "basket_filled" in builder
        assert not Segment.objects.exists()

    def test_an_event_that_never_happened_is_no_answer(self, shop):
        assert roles.find({"purchase": "invented"}).purchase == "order_paid"
        assert roles.find({"purchase": "basket_filled"}).purchase == "basket_filled"
        assert roles.find().amount == "total"
        assert roles.find({"amount": "vat"}).amount == "vat"

    def test_what_was_paid_is_asked_for_where_it_is_not_clear(self, admin_client):
        person = Profile.objects.create()
        happened((person, "purchase", 1, {"cents": 400}))
        assert "Choose above what was paid." in admin_client.get(url("gallery")).text
        assert "ready=vip" in admin_client.get(url("gallery") + "?amount=cents").text

    def test_sizes_come_by_few_statements_and_are_kept(
        self, admin_client, shop, django_assert_max_num_queries, django_assert_num_queries
    ):
        page = admin_client.get(url("gallery_sizes")).text
        assert re.search(r'id="size-repeat-buyers"><b>2</b> people', page)
        cards = gallery.cards(roles.find())
        rules = {card.ready.slug: card.rule for card in cards if card.rule is not None}
        cache.clear()
        with django_assert_max_num_queries(10):  # five of them begin, end and limit the one that counts
            gallery.sizes(rules)
        with django_assert_num_queries(0):
            assert gallery.sizes(rules)["buyers"].size == 1

    def test_sizes_of_many_people_are_estimated(self, shop, monkeypatch):
        Profile.objects.bulk_create(Profile() for _number in range(500))
        monkeypatch.setattr(sampling, "PEOPLE", 100)
        monkeypatch.setattr(topspenders, "PEOPLE", 300)
        asked = topspenders.threshold("order_paid", "total")  # of the three customers those in the sample
        assert asked is None or 10 <= asked <= 120
        size = gallery.sizes(
            {"nobody": {"any": []}, "all": {"all": []}, "rare": {"all": [gallery.event("order_paid", 30)]}}
        )
        assert size["all"].size == 506
        assert size["nobody"].size == 0
        assert size["rare"].high > 0
        assert size["rare"].low < size["rare"].high

    def test_stores_only_where_there_are_some(self, shop):
        assert "near-store" not in {card.ready.slug for card in gallery.cards(roles.find())}
        Place.objects.create(slug="mall", name="Mall", latitude=52.2, longitude=21.0)
        Profile.objects.filter(pk=shop["fan"].pk).update(latitude=52.21, longitude=21.01)
        assert found("near-store", shop) == {"fan"}

    def test_who_sees_no_contact_data_is_not_told_birthdays(self, shop):
        slugs = {card.ready.slug for card in gallery.cards(roles.find())}
        with masking.hiding():
            hidden = slugs - {card.ready.slug for card in gallery.cards(roles.find())}
        assert hidden == {"birthday-week"}


class TestRfm:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400), st.integers(0, 90)), max_size=25),
        st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 300)),
        st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 100)),
    )
    def test_the_grid_says_what_the_segments_will_hold(self, orders, days, numbers):
        now = timezone.now()
        Profile.objects.all().delete()
        people = [Profile.objects.create() for _number in range(6)]
        log.append(
            [
                log.NewEvent(
                    uuid.uuid4(), people[who].pk, "purchase", now - ago * DAY, {"total": paid}, "test"
                )
                for who, ago, paid in orders
            ]
        )
        cuts = rfm.Cuts(
            "purchase",
            "total",
            window=sum(days),
            recent=days[0],
            lately=days[0] + days[1],
            some=numbers[0],
            often=numbers[0] + numbers[1],
            spent=numbers[2],
        )
        assert cuts.sound
        grid = rfm.grid(cuts, now)
        cells = [cell for row in grid.rows for cell in row]
        for cell in [*cells, grid.big]:
            rule = grammar.parse(rfm.rule(cuts, cell.key))
            assert len(evaluate.members(rule, now)) == cell.people
        assert sum(cell.people for cell in cells) == grid.people

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 364)), max_size=12), st.integers(3, 500))
    def test_what_is_proposed_makes_sense(self, orders, window):
        people = [Profile.objects.create() for _number in range(4)]
        name = uuid.uuid4().hex
        happened(*((people[who], name, ago, {"total": ago}) for who, ago in orders))
        assert rfm.propose(name, "total", window).sound

    def test_chosen_cells_become_segments(self, admin_client, shop):
        page = admin_client.get(url("rfm"))
        assert 'data-testid="rfm-grid"' in page.text
        cuts = {"window": 365, "recent": 30, "lately": 90, "some": 2, "often": 3, "spent": 100}
        page = admin_client.get(url("rfm"), cuts).text
        assert "3 customers in 365 days" in page
        answer = admin_client.post(url("rfm"), {**cuts, "cell": ["recent-often", "long-few", rfm.BIG]})
        assert answer.status_code == 302
        made = {segment.name: segment for segment in Segment.objects.all()}
        assert set(made) == {"Champions", "Hibernating", "Big spenders"}
        champions = evaluate.members(grammar.parse(made["Champions"].rule))
        assert champions == [shop["fan"].pk]
        assert made["Champions"].versions.get().by == "admin"
        admin_client.post(url("rfm"), {**cuts, "cell": "recent-often"})
        assert Segment.objects.filter(slug="rfm-recent-often-2").exists()

    def test_lines_out_of_order_are_told(self, admin_client, shop):
        page = admin_client.get(url("rfm"), {"recent": 90, "lately": 30}).text
        assert "Put the days in order" in page
        assert 'data-testid="rfm-grid"' not in page

    def test_without_purchases_one_is_asked_for(self, admin_client):
        assert "Choose an event" in admin_client.get(url("rfm")).text
        admin_client.post(url("rfm"), {"cell": "recent-often"})
        assert not Segment.objects.exists()


def test_the_demo_s_segments_can_be_asked():
    people = Profile.objects.bulk_create(Profile() for _number in range(3))
    content.create()
    content.create_audience()
    for segment in Segment.objects.all():
        if segment.kind == Segment.Kind.RULE:
            found = sorted(evaluate.members(grammar.parse(segment.rule)))
            assert found in ([], [person.pk for person in people])
            assert segment.versions.get().by == "demo"
    assert Segment.objects.get(slug=content.CIRCLE).memberships.count() == 3
    assert {"vip-asleep", "cart-abandoners"} < set(Segment.objects.values_list("slug", flat=True))


def test_the_demo_s_segments_have_the_sizes_that_their_rules_tell_of_the_past():
    now = timezone.now()
    people = Profile.objects.bulk_create(Profile() for _number in range(2))
    for person, days in zip(people, (20, 3), strict=True):
        log.append(
            [log.NewEvent(uuid.uuid4(), person.pk, "purchase", now - timedelta(days=days), {}, "test")]
        )
    week = {"kind": "event", "name": "purchase", "within": {"last": {"days": 10}}}
    editing.save(Segment(slug="week", name="Week"), week, by="test")
    editing.save(Segment(slug="ever", name="Ever"), {"kind": "event", "name": "purchase"}, by="test")
    sizes.create(now)
    past = list(SegmentSize.objects.filter(segment__slug="week").order_by("hour"))
    assert [row.size for row in past] == [0] * 11 + [1] * 10 + [0] * 7 + [1] * 2
    assert [sum(row.entered for row in past), sum(row.departed for row in past)] == [2, 1]
    assert not SegmentSize.objects.filter(segment__slug="ever").exists()
