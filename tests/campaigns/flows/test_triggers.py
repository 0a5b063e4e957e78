"""What each kind of trigger starts, and whom it does not."""

from datetime import datetime, timedelta

import pytest

from campaigns.flows import clock, triggers
from campaigns.flows.definition import parse
from campaigns.models import Decision, Enrollment, Segment, SegmentMembership
from campaigns.segments import usage
from crm.models import Place, Profile
from tests.campaigns.flows.conftest import NOW

WAIT = {"key": "w", "kind": "wait", "config": {"amount": 2, "unit": "days"}}
AGAIN = {"reentry": {"mode": "always"}}


def kind(name):
    return triggers.registry[name]


def entered(flow):
    return list(Enrollment.objects.filter(flow=flow).order_by("pk").values_list("profile_id", flat=True))


class TestEvents:
    def test_the_third_time_within_the_days_starts_and_late_ones_count(self, world):
        ann, bob, eve = (world.person(name) for name in ("ann", "bob", "eve"))
        flow = world.flow(
            [WAIT],
            {
                "kind": "event",
                "name": "viewed",
                "where": [{"property": "n", "op": "gte", "value": 1}],
                "count": {"times": 3, "within_days": 2},
            },
        )
        for hours in (1, 30, 60, 90):  # never three within two days
            world.happens(bob, "viewed", world.now - timedelta(hours=hours), n=1)
        for n in (1, 1, 0):  # the third one is not meant
            world.happens(eve, "viewed", n=n)
        world.happens(ann, "viewed", world.now - timedelta(days=1), n=1)
        world.happens(ann, "viewed", world.now, n=1)
        world.run()
        assert entered(flow) == []
        world.happens(
            ann, "viewed", world.now - timedelta(hours=30), n=1
        )  # arrives last, lies before the others
        world.run()
        assert entered(flow) == [ann]

    def test_what_is_counted_is_told_to_whoever_deletes_old_events(self, world):
        count = {"times": 3, "within_days": 40}
        world.flow(
            [WAIT], {"kind": "event", "name": "viewed", "count": count}, entry={"kind": "event", "name": "a"}
        )
        assert {name: [use.days for use in found] for name, found in usage.event_uses().items()} == {
            "viewed": [40, 40],
            "a": [None, None],
        }

    def test_a_segment_starts_who_comes_in_but_nobody_by_a_new_rule(self, world):
        Segment.objects.create(slug="vips", name="VIPs")
        ann, bob, eve = (world.person(name) for name in ("ann", "bob", "eve"))
        came = world.flow([WAIT], {"kind": "segment", "segment": "vips", "on": "entered"})
        left = world.flow([WAIT], {"kind": "segment", "segment": "vips", "on": "left"}, slug="left")
        world.happens(ann, "segment_entered", segment="vips", cause="event")
        world.happens(bob, "segment_entered", segment="vips", cause="rule")
        world.happens(bob, "segment_entered", segment="others", cause="event")
        world.happens(eve, "segment_left", segment="vips", cause="time")
        world.run()
        assert entered(came) == [ann]
        assert entered(left) == [eve]

    def test_a_changed_field_starts_by_its_old_and_new_values(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        Profile.objects.filter(pk__in=[ann, bob]).update(attributes={"plan": "free", "n": 1})
        wanted = {
            "up": {"field": "attributes.plan", "from": ["free", None], "to": ["pro"]},
            "any": {"field": "attributes.plan"},
            "gone": {"field": "attributes.plan", "to": [None]},
            "one": {"field": "attributes.n", "to": [2]},
        }
        flows = {
            slug: world.flow([WAIT], {"kind": "attribute", **trigger}, slug=slug)
            for slug, trigger in wanted.items()
        }
        clock.run(world.now)  # whoever publishes has it watched at once, and the clock sees to it in any case
        Profile.objects.filter(pk=ann).update(attributes={"plan": "pro", "n": "2"})
        Profile.objects.filter(pk=bob).update(attributes={"n": 2.0})
        world.run()
        assert {slug: entered(flow) for slug, flow in flows.items()} == {
            "up": [ann],
            "any": [ann, bob],
            "gone": [bob],
            "one": [bob],
        }
        Enrollment.objects.all().delete()
        for flow in flows.values():
            flow.delete()
        clock.run(world.now)
        Profile.objects.filter(pk=ann).update(attributes={"plan": "free"})
        assert world.names(ann).count("attribute_changed") == 2

    def test_products_and_places_start_by_what_we_told(self, world):
        Place.objects.create(slug="shop", name="Shop", latitude=1, longitude=1)
        ann, bob = world.person("ann"), world.person("bob")
        back = world.flow([WAIT], {"kind": "back_in_stock"}, slug="back")
        cheap = [{"property": "price", "op": "lt", "value": 10}]
        price = world.flow([WAIT], {"kind": "price_drop", "where": cheap}, slug="price")
        place = world.flow([WAIT], {"kind": "place", "place": "shop"}, slug="place")
        anywhere = world.flow([WAIT], {"kind": "place"}, slug="anywhere")
        by_hand = world.flow([WAIT], {"kind": "api"}, slug="by-hand")
        for person, cost, where in ((ann, 5, "shop"), (bob, 50, "pier")):
            world.happens(person, "back_in_stock", sku="a", price=cost)
            world.happens(person, "price_dropped", sku="a", price=cost)
            world.happens(person, "entered_place", place=where)
        world.run()
        assert [entered(flow) for flow in (back, price, place, anywhere, by_hand)] == [
            [ann, bob],
            [ann],
            [ann],
            [ann, bob],
            [],
        ]


class TestDatesOfEvents:
    TRIGGER = {
        "kind": "date",
        "event": "booked",
        "property": "starts_at",
        "where": [{"property": "online", "op": "eq", "value": True}],
        "offset": {"hours": -24},
    }

    def booked(self, world, person, hours, **more):
        at = world.now + timedelta(hours=hours)
        world.happens(person, "booked", starts_at=at.isoformat(), online=True, **more)

    def test_a_run_waits_for_the_date_and_a_later_booking_moves_it(self, world):
        ann = world.person("ann")
        flow = world.flow([WAIT], self.TRIGGER, key="properties.id")
        self.booked(world, ann, 72, id="a")
        self.booked(world, ann, 96, id="b")
        world.run(hours=1)
        assert set(Enrollment.objects.values_list("run_key", "step", "due_at")) == {
            ("key:a", "", NOW + timedelta(hours=48)),
            ("key:b", "", NOW + timedelta(hours=72)),
        }
        self.booked(world, ann, 49, id="b")  # 26 hours before what it was
        world.run(hours=24)
        assert dict(Enrollment.objects.values_list("run_key", "step")) == {"key:a": "", "key:b": ""}
        world.run(hours=1)
        assert dict(Enrollment.objects.values_list("run_key", "step")) == {"key:a": "", "key:b": "w"}
        world.run(hours=22)
        assert dict(Enrollment.objects.values_list("run_key", "step")) == {"key:a": "w", "key:b": "w"}
        assert Decision.objects.filter(flow=flow, kind="moved").count() == 1

    def test_an_exit_event_ends_the_wait(self, world):
        ann = world.person("ann")
        world.flow([WAIT], self.TRIGGER, exit_on=[{"name": "cancelled"}])
        self.booked(world, ann, 72)
        world.run()
        world.happens(ann, "cancelled", world.now + timedelta(seconds=1))
        world.run(hours=48)
        assert Enrollment.objects.get().state == "exited"

    def test_no_date_or_one_that_is_past_starts_nobody(self, world):
        ann = world.person("ann")
        flow = world.flow([WAIT], self.TRIGGER)
        self.booked(world, ann, 23)
        world.happens(ann, "booked", starts_at="soon", online=True)
        world.happens(ann, "booked", online=True)
        world.run()
        assert entered(flow) == []
        reasons = (
            Decision.objects.filter(kind="not_entered")
            .order_by("pk")
            .values_list("detail__reason", flat=True)
        )
        assert list(reasons) == ["date is past", "no date to wait for", "no date to wait for"]


class TestSettings:
    @pytest.mark.parametrize(
        ("trigger", "path"),
        [
            (None, "trigger"),
            ({"kind": "nothing"}, "trigger.kind"),
            ({"kind": "event", "name": " "}, "trigger.name"),
            ({"kind": "event", "name": "a", "count": {"times": 0, "within_days": 1}}, "trigger.count.times"),
            (
                {"kind": "event", "name": "a", "where": [{"property": "", "op": "eq"}]},
                "trigger.where[0].property",
            ),
            ({"kind": "segment", "segment": "gone"}, "trigger.segment"),
            ({"kind": "attribute", "field": "last_seen"}, "trigger.field"),
            ({"kind": "attribute", "field": "nothing"}, "trigger.field"),
            ({"kind": "date", "field": "birthday", "yearly": True}, "trigger.at"),
            ({"kind": "date", "field": "city", "at": "09:00"}, "trigger.field"),
            ({"kind": "date", "event": "booked", "property": "a..b"}, "trigger.property"),
            ({"kind": "date", "field": "birthday", "at": "9"}, "trigger.at"),
            (
                {"kind": "date", "field": "birthday", "at": "09:00", "offset": {"days": 1, "hours": 1}},
                "trigger.offset",
            ),
            ({"kind": "schedule", "cron": "0 9 * *"}, "trigger.cron"),
            ({"kind": "schedule", "cron": "0 9 31 2 *"}, "trigger.cron"),
            ({"kind": "place", "place": "gone"}, "trigger.place"),
            ({"kind": "price_drop", "more": 1}, "trigger"),
        ],
    )
    @pytest.mark.django_db
    def test_what_can_start_nobody_is_told(self, trigger, path):
        from campaigns.flows.definition import check

        problems = check(parse({"trigger": trigger, "steps": [WAIT]}))
        assert path in [problem[0] for problem in problems]

    @pytest.mark.django_db
    def test_a_schedule_has_no_run_key(self):
        definition = parse({"trigger": {"kind": "schedule"}, "key": "properties.a", "steps": [WAIT]})
        assert [path for path, _text in triggers.problems(definition)] != []

    FORMS = [
        ("event", {"times": "3", "within_days": "7"}, {"count": {"times": 3, "within_days": 7}}),
        ("event", {"times": "", "within_days": ""}, {}),
        ("segment", {"segment": "vips", "on": "left"}, {"segment": "vips", "on": "left"}),
        (
            "attribute",
            {"field": "city", "before": "null, Łódź, 3", "after": '"3"'},
            {"field": "city", "from": [None, "Łódź", 3], "to": ["3"]},
        ),
        (
            "date",
            {
                "source": "field",
                "field": "birthday",
                "side": "before",
                "distance": "3",
                "distance_unit": "days",
                "at": "09:00",
                "yearly": "on",
            },
            {"field": "birthday", "offset": {"days": -3}, "at": "09:00", "yearly": True},
        ),
        (
            "date",
            {"source": "event", "property": "starts_at", "side": "on"},
            {"property": "starts_at"},
        ),
        (
            "schedule",
            {"segment": "vips", "every": "days", "weekdays": ["1", "5"], "at": "09:30"},
            {"segment": "vips", "cron": "30 9 * * 1,5"},
        ),
        (
            "schedule",
            {"segment": "vips", "every": "month", "day": "15", "at": "08:00"},
            {"segment": "vips", "cron": "0 8 15 * *"},
        ),
        (
            "schedule",
            {"segment": "vips", "every": "cron", "cron": "*/5 8 * * *"},
            {"segment": "vips", "cron": "*/5 8 * * *"},
        ),
        ("place", {"place": ""}, {}),
    ]

    @pytest.mark.parametrize(("name", "posted", "stored"), FORMS)
    @pytest.mark.django_db
    def test_forms_store_what_they_show_again(self, name, posted, stored):
        Segment.objects.create(slug="vips", name="VIPs")
        form = kind(name).Form(posted)
        assert form.is_valid(), form.errors
        assert kind(name).stored(form.cleaned_data) == stored
        config = {"kind": name, **stored, **({"event": "booked"} if "property" in stored else {})}
        shown = kind(name).Form(initial=kind(name).initial(config))
        again = {field.html_name: field.value() for field in shown}
        posted_again = {key: value for key, value in again.items() if value not in (None, False)}
        for key in ("before", "after"):
            if key in posted_again:
                posted_again[key] = shown[key].value()
        second = kind(name).Form(posted_again)
        assert second.is_valid(), second.errors
        assert kind(name).stored(second.cleaned_data) == stored
        assert kind(name).summary(kind(name).read({"name": "x", **config} if name == "event" else config))

    @pytest.mark.parametrize(
        ("name", "posted", "wrong"),
        [
            ("event", {"times": "3"}, "within_days"),
            ("date", {"source": "field", "field": "birthday"}, "at"),
            ("date", {"source": "field", "at": "09:00"}, "field"),
            ("date", {"source": "event", "property": ""}, "property"),
            ("date", {"source": "event", "property": "a", "side": "after"}, "distance"),
            ("schedule", {"every": "cron", "cron": "x"}, "cron"),
            ("schedule", {"every": "days"}, "at"),
        ],
    )
    @pytest.mark.django_db
    def test_forms_say_what_is_missing(self, name, posted, wrong):
        assert wrong in kind(name).Form(posted).errors

    def test_every_kind_can_be_offered_and_survives_being_unfinished(self):
        assert set(triggers.registry) == {
            *("event", "segment", "attribute", "date", "schedule"),
            *("back_in_stock", "price_drop", "place", "api", "holiday"),
        }
        assert len({each.position for each in triggers.registry.values()}) == len(triggers.registry)
        for name, each in triggers.registry.items():
            config = each.read({"kind": name})
            assert str(each.label)
            assert str(each.help)
            assert isinstance(each.initial({"kind": name}), dict)
            if name not in ("place", "back_in_stock", "price_drop", "api"):
                assert each.summary(config) == ""


class TestHistory:
    def test_moments_tell_who_would_have_been_started_in_order_and_in_pages(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        Segment.objects.create(slug="vips", name="VIPs")
        for hours in (5, 4, 3, 3):
            world.happens(ann, "bought", NOW - timedelta(hours=hours), n=hours)
        world.happens(bob, "bought", NOW - timedelta(hours=3), n=3)
        world.happens(bob, "segment_entered", NOW - timedelta(hours=1), segment="vips", cause="rule")
        each = kind("event")
        config = each.read({"name": "bought", "where": [{"property": "n", "op": "lt", "value": 5}]})
        since, until = NOW - timedelta(hours=5), NOW
        found = [(start.at, start.profile_id) for start in each.moments(config, since, until)]
        assert found == sorted(found)
        assert len(found) == 4
        assert list(each.moments(config, since, until, limit=2))[-1].at == NOW - timedelta(hours=3)
        on = list(each.moments(config, NOW - timedelta(hours=3), until, after=ann))
        assert [(start.profile_id, start.context["event"]["properties"]) for start in on] == [(bob, {"n": 3})]
        segments = kind("segment")
        assert list(segments.moments(segments.read({"segment": "vips"}), since, until)) == []

    def test_a_schedule_tells_its_members_at_each_time(self, world, settings):
        settings.TIME_ZONE = "Europe/Warsaw"
        people = [world.person(name) for name in ("ann", "bob", "eve")]
        segment = Segment.objects.create(slug="vips", name="VIPs")
        for number, person in enumerate(people):
            SegmentMembership.objects.create(
                segment=segment,
                profile_id=person,
                entered_at=datetime(2026, 3, 27 + number, 12, tzinfo=NOW.tzinfo),
            )
        each = kind("schedule")
        config = each.read({"cron": "30 2 * * *", "segment": "vips"})
        since = datetime(2026, 3, 28, tzinfo=NOW.tzinfo)
        found = [
            (start.profile_id, start.at.strftime("%d %H:%M"))
            for start in each.moments(config, since, since + timedelta(days=3))
        ]
        assert found == [
            (people[0], "28 01:30"),
            *[(person, "29 01:00") for person in people[:2]],  # 02:30 does not exist on that night
            *[(person, "30 00:30") for person in people],
        ]
