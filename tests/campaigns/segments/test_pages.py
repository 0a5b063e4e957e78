"""The pages of segments beside the builder: overview, versions, what uses them, compare, the list."""

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.flows import publish
from campaigns.models import (
    Broadcast,
    Experiment,
    Flow,
    ListJob,
    Segment,
    SegmentMembership,
    SegmentSize,
    SegmentVersion,
)
from campaigns.segments import editing, evaluate, grammar, history, overlap, plans, usage, versions
from crm import log, retention
from crm.models import Profile
from crm.rules.errors import RuleError
from delivery.models import Message

pytestmark = pytest.mark.django_db

POLES = {"all": [{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}]}
ARABS = {"all": [{"kind": "attribute", "field": "country", "op": "eq", "value": "SA"}]}
POSTED = {
    "node": ["n0", "n1"],
    "n0.kind": "group",
    "n0.mode": "all",
    "n1.kind": "attribute",
    "n1.parent": "n0",
    "n1.field": "country",
    "n1.was_field": "country",
    "n1.type": "choice",
    "n1.op": "eq",
    "n1.was_op": "eq",
    "n1.value": "SA",
}


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.clear()


@pytest.fixture
def segment():
    return editing.save(Segment(slug="home", name="At home"), POLES, by="ola")


def url(name, *args):
    return reverse(f"admin:campaigns_segment_{name}", args=args)


def login(client, *permissions):
    user = get_user_model().objects.create_user("kim", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)


def belong(segment, *people):
    now = timezone.now()
    SegmentMembership.objects.bulk_create(
        SegmentMembership(segment=segment, profile=person, entered_at=now) for person in people
    )
    Segment.objects.filter(pk=segment.pk).update(size=len(people), evaluated_at=now, state="ready")


def running_flow(slug, trigger="segment_entered"):
    """A live flow that starts when somebody comes into a segment, and asks about it in a split."""
    asked = {"kind": "segment", "slug": slug}
    flow = Flow.objects.create(
        slug="hello",
        name="Hello",
        draft={
            "trigger": {
                "kind": "event",
                "name": trigger,
                "where": [{"property": "segment", "op": "eq", "value": slug}],
            },
            "steps": [
                {
                    "key": "s",
                    "kind": "split",
                    "config": {"name": "Still here?"},
                    "branches": [{"name": "Yes", "rule": {"not": {"any": [asked]}}}, {"name": "No"}],
                }
            ],
        },
    )
    publish.publish(flow.pk)
    return flow


class TestOverview:
    def test_says_how_it_is_and_why_people_came(self, client, segment):
        ann = Profile.objects.create(first_name="Ann", country="PL")
        belong(segment, ann)
        hour = timezone.now().replace(minute=0, second=0, microsecond=0)
        SegmentSize.objects.create(segment=segment, hour=hour - timedelta(days=9), size=5)
        SegmentSize.objects.create(segment=segment, hour=hour, size=1, entered=2, departed=6)
        properties = {"segment": "home", "name": "At home", "cause": "event", "event": "purchase"}
        other = {**properties, "segment": "elsewhere", "event": "visit"}
        log.append(
            [
                log.NewEvent(uuid.uuid4(), ann.pk, "segment_entered", timezone.now(), each, "segments")
                for each in (properties, other)
            ]
        )
        login(client, "view_segment", "view_profile", "view_contact_data")
        page = client.get(url("overview", segment.pk)).text
        assert "country is Poland" in page
        assert "+2" in page
        assert "−6" in page
        assert "it had 5 before" in page
        assert "Ann" in page
        assert "because of “purchase”" in page
        assert "visit" not in page
        assert 'data-testid="size-chart"' in page
        assert "Count now" not in page

    def test_people_are_named_to_who_may_see_profiles_only(self, client, segment):
        ann = Profile.objects.create(first_name="Ann", country="PL")
        SegmentSize.objects.create(segment=segment, hour=timezone.now(), size=1, entered=1)
        log.append(
            [
                log.NewEvent(
                    uuid.uuid4(), ann.pk, "segment_entered", timezone.now(), {"segment": "home"}, "segments"
                )
            ]
        )
        login(client, "view_segment")
        page = client.get(url("overview", segment.pk)).text
        assert "Somebody" in page
        assert "Ann" not in page

    def test_the_curve_carries_the_last_size_on(self, segment):
        now = timezone.now().replace(hour=12, minute=30)
        hour = now.replace(minute=0, second=0, microsecond=0)
        SegmentSize.objects.create(segment=segment, hour=hour - timedelta(days=3), size=7, entered=7)
        SegmentSize.objects.create(segment=segment, hour=hour - timedelta(hours=2), size=4, departed=3)
        days = history.curve(segment, 30, now)
        assert [point[1:] for point in days] == [(7, 7, 0), (7, 0, 0), (7, 0, 0), (4, 0, 3)]
        hours = history.curve(segment, 2, now)
        assert [point.size for point in hours[-4:]] == [7, 4, 4, 4]
        assert sum(point.departed for point in hours) == 3
        assert history.changes([segment.pk], 2, now)[segment.pk] == (0, 3, 7)

    def test_a_list_opens_with_its_overview_and_is_renamed_there(self, admin_client):
        vips = Segment.objects.create(slug="vips", name="VIPs", kind="list")
        assert admin_client.get(url("change", vips.pk))["Location"] == url("overview", vips.pk)
        assert admin_client.get(url("overview", vips.pk)).status_code == 200
        assert admin_client.get(url("versions", vips.pk)).status_code == 404
        admin_client.post(url("names", vips.pk), {"name": "Our best", "description": ""})
        vips.refresh_from_db()
        assert (vips.name, vips.slug, vips.kind) == ("Our best", "vips", "list")


class TestRights:
    PAGES = ("overview", "versions")

    @pytest.mark.parametrize("name", PAGES)
    def test_pages_of_a_segment(self, client, segment, name):
        login(client)
        assert client.get(url(name, segment.pk)).status_code == 403
        client.logout()
        login_page = client.get(url(name, segment.pk))
        assert login_page.status_code == 302
        assert login_page["Location"].startswith(reverse("admin:login"))

    @pytest.mark.parametrize("name", ["gallery", "gallery_sizes", "rfm", "compare"])
    def test_pages_of_none(self, client, name):
        login(client)
        assert client.get(url(name)).status_code == 403

    def test_who_may_only_look_changes_nothing(self, client, segment):
        login(client, "view_segment")
        assert client.post(url("count", segment.pk)).status_code == 403
        assert client.post(url("cancel", segment.pk)).status_code == 403
        assert client.post(url("restore", segment.pk, 1)).status_code == 403
        assert client.post(url("rfm"), {"cell": "long-few"}).status_code in (200, 403)
        assert Segment.objects.count() == 1
        assert "Use this:" not in client.get(url("gallery")).text

    def test_nothing_is_counted_by_a_link(self, admin_client, segment):
        assert admin_client.get(url("count", segment.pk)).status_code == 405


class TestVersions:
    def test_who_changed_what_with_the_difference_marked(self, admin_client, segment):
        SegmentSize.objects.create(segment=segment, hour=timezone.now() - timedelta(minutes=5), size=3)
        editing.save(segment, ARABS, by="jan", now=timezone.now() + timedelta(minutes=1))
        page = admin_client.get(url("versions", segment.pk)).text
        assert "is <del>Poland.</del><ins>Saudi Arabia.</ins>" in page
        assert page.index("jan") < page.index("ola")
        assert "3 people at its end" in page

    def test_restoring_says_what_changes_and_makes_a_new_version(self, admin_client, segment):
        poles = [Profile.objects.create(country="PL") for _number in range(3)]
        arab = Profile.objects.create(country="SA")
        editing.save(segment, ARABS, by="jan")
        belong(segment, arab, poles[0])
        page = admin_client.get(url("restore", segment.pk, 1)).text
        effect = re.sub(r"<[^>]+>|\s+", " ", page[page.index('data-testid="effect"') :])
        assert re.search(r"2 +people come in +1 +person drops out +3 +people are in it", effect)
        assert admin_client.post(url("restore", segment.pk, 1)).status_code == 302
        segment.refresh_from_db()
        assert (segment.rule, segment.version) == (POLES, 3)
        newest = SegmentVersion.objects.get(segment=segment, number=3)
        assert (newest.by, newest.restored) == ("admin", 1)

    def test_what_can_not_be_asked_any_more_is_not_restored(self, admin_client, segment):
        SegmentVersion.objects.filter(segment=segment).update(
            rule={"all": [{"kind": "segment", "slug": "gone"}]}
        )
        editing.save(segment, ARABS)
        answer = admin_client.post(url("restore", segment.pk, 1))
        assert answer.status_code == 200
        assert "There is no segment “gone”." in answer.text
        segment.refresh_from_db()
        assert segment.rule == ARABS

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.sampled_from(["a", "b", "and", "c d"]), max_size=8),
        st.lists(st.sampled_from("abc"), max_size=8),
    )
    def test_the_marks_give_both_sentences(self, old, new):
        before, after = " ".join(old), " ".join(new)
        pieces = list(versions._difference(before, after))
        assert "".join(text for kind, text in pieces if kind != "removed") == after
        assert "".join(text for kind, text in pieces if kind != "added") == before

    def test_long_sentences_are_not_compared_word_by_word(self):
        before, after = " ".join(["a", "b"] * 20_000), " ".join(["b", "a"] * 20_000)
        pieces = list(versions._difference(f"so {before} end", f"so {after} end"))
        assert [kind for kind, _text in pieces] == ["kept", "kept", "removed", "added", "kept"]

    def test_one_is_not_true(self, segment):
        rule = {"all": [{"kind": "attribute", "field": "attributes.n", "op": "eq", "value": 1}]}
        assert editing.save(segment, rule).version == 2
        rule = {"all": [{"kind": "attribute", "field": "attributes.n", "op": "eq", "value": True}]}
        assert editing.save(segment, rule).version == 3
        assert editing.save(segment, rule).version == 3


class TestUse:
    def test_flows_are_told_with_the_place(self, segment):
        running_flow("home")
        [use] = usage.uses()["home"]
        assert use.text == "the flow “Hello” (what starts it, step “Still here?”)"

    def test_every_way_to_use_one_is_found(self, segment):
        Segment.objects.create(slug="kept", name="Kept", kind="list")
        rule = {
            "any": [{"not": {"all": [{"kind": "list", "slug": "kept"}]}}, {"kind": "segment", "slug": "home"}]
        }
        Segment.objects.create(slug="both", name="Both", rule=rule)
        found = usage.uses()
        assert [use.text for use in found["kept"]] == ["the segment “Both”"]
        assert [use.text for use in found["home"]] == ["the segment “Both”"]

    def test_flows_named_by_rules(self, segment):
        rule = {"not": {"kind": "flow", "flow": "welcome", "state": "in"}}
        Segment.objects.create(slug="out", name="Out", rule=rule)
        assert [use.text for use in usage.flow_uses()["welcome"]] == ["the segment “Out”"]

    def test_a_draft_that_a_segment_asks_about_stays(self, admin_client):
        flow = Flow.objects.create(slug="welcome", name="Welcome", draft={})
        rule = {"all": [{"kind": "flow", "flow": "welcome", "state": "in"}]}
        asking = Segment.objects.create(slug="in", name="In it", rule=rule)
        delete = reverse("admin:campaigns_flow_delete", args=[flow.pk])
        assert "the segment “In it”" in admin_client.post(delete, {"post": "yes"}).text
        assert Flow.objects.exists()
        asking.delete()
        admin_client.post(delete, {"post": "yes"})
        assert not Flow.objects.exists()

    def test_events_that_rules_look_back_at_are_kept(self):
        rule = {
            "all": [
                {
                    "kind": "event",
                    "name": "cart",
                    "within": {"last": {"days": 7}},
                    "not_followed_by": {"name": "order"},
                },
                {"not": {"kind": "message", "did": "opened", "within": {"last": {"days": 90}}}},
            ]
        }
        Segment.objects.create(slug="s", name="S", rule=rule)
        for name, days in (("cart", 7), ("order", 7), ("message_opened", 90)):
            assert retention.cut_short(name, days - 1) == ["the segment “S”"]
            assert retention.cut_short(name, days) == []

    def test_a_name_that_is_used_stays(self, admin_client, segment):
        running_flow("home")
        segment.slug = "elsewhere"
        with pytest.raises(RuleError) as refused:
            editing.save(segment, POLES)
        assert refused.value.problems[0].path == "slug"
        answer = admin_client.post(
            url("change", segment.pk), {**POSTED, "n1.value": "PL", "name": "x", "slug": "elsewhere"}
        )
        assert "the flow “Hello”" in answer.text
        assert Segment.objects.get().slug == "home"

    def test_an_unused_name_may_change(self, segment):
        segment.slug = "elsewhere"
        assert editing.save(segment, POLES).slug == "elsewhere"

    def test_names_of_the_api_are_taken(self):
        with pytest.raises(RuleError, match="slug"):
            editing.save(Segment(slug="preview", name="x"), POLES)

    def test_deleting_is_refused_with_links(self, admin_client, segment):
        flow = running_flow("home")
        for answer in (
            admin_client.get(url("delete", segment.pk)),
            admin_client.post(url("delete", segment.pk), {"post": "yes"}),
        ):
            assert reverse("admin:campaigns_flow_change", args=[flow.pk]) in answer.text
        with pytest.raises(editing.InUse):
            editing.delete(segment)
        assert Segment.objects.filter(pk=segment.pk).exists()


class TestConfirming:
    def test_a_rule_in_use_is_changed_only_when_confirmed(self, admin_client, segment):
        running_flow("home")
        pole, _arab = Profile.objects.create(country="PL"), Profile.objects.create(country="SA")
        belong(segment, pole)
        form = {**POSTED, "name": "At home", "slug": "home"}
        asked = admin_client.post(url("change", segment.pk), form)
        assert 'data-testid="question"' in asked.text
        assert "the flow “Hello”" in asked.text
        segment.refresh_from_db()
        assert segment.rule == POLES
        answer = re.search(r'name="confirmed" value="(\w+)"', asked.text)[1]
        assert (
            'data-testid="question"'
            in admin_client.post(
                url("change", segment.pk), {**form, "n1.value": "DE", "confirmed": answer}
            ).text
        )
        assert admin_client.post(url("change", segment.pk), {**form, "confirmed": answer}).status_code == 302
        segment.refresh_from_db()
        assert segment.rule["all"][0]["value"] == "SA"

    def test_other_changes_are_not_asked_about(self, admin_client, segment):
        running_flow("home")
        form = {**POSTED, "n1.value": "PL", "name": "Poland", "slug": "home"}
        assert admin_client.post(url("change", segment.pk), form).status_code == 302
        assert Segment.objects.get().name == "Poland"

    def test_uses_are_followed_through_other_segments(self, segment):
        rule = {"all": [{"kind": "segment", "slug": "home"}]}
        editing.save(Segment(slug="outer", name="Outer"), rule)
        message = Message.objects.create(slug="m", name="m")
        Broadcast.objects.create(name="Sale", message=message, segment=Segment.objects.get(slug="outer"))
        assert [use.text for use in usage.live_uses("home")] == ["the broadcast “Sale”"]
        running_flow("outer")
        assert len(usage.live_uses("home")) == 2
        assert usage.live_uses("other") == []

    def test_an_experiment_on_audiences_uses_its_segments_until_it_is_over(self, segment):
        arms = [{"key": "a", "segment": "home"}, {"key": "b", "segment": ""}]
        made = Experiment.objects.create(name="Who?", slug="who", subject="audience", arms=arms)
        assert [use.text for use in usage.live_uses("home")] == ["the experiment “Who?”"]
        assert [use.text for use in usage.uses()["home"]] == ["the experiment “Who?”"]
        Experiment.objects.filter(pk=made.pk).update(state="stopped", started_at=made.created_at)
        assert usage.live_uses("home") == []


class TestCompare:
    def test_the_overlap_of_three(self, admin_client, django_assert_num_queries):
        segments = [Segment.objects.create(slug=f"s{n}", name=f"Number {n}", rule=POLES) for n in range(3)]
        people = [Profile.objects.create() for _number in range(6)]
        belong(segments[0], *people[:4])
        belong(segments[1], *people[2:5])
        belong(segments[2], people[3])
        found = overlap.compare(segments)
        assert found.sizes == (4, 3, 1)
        assert found.people == 5
        shown = {tuple(each.slug for each in cell.inside): cell.people for cell in found.cells}
        assert shown == {("s0",): 2, ("s0", "s1"): 1, ("s0", "s1", "s2"): 1, ("s1",): 1}
        first = found.pairs[0]
        assert (first.both, first.jaccard, first.of_first) == (2, 2 / 5, 2 / 4)
        page = admin_client.get(url("compare") + "?segment=s0&segment=s1&segment=s2&segment=nobody").text
        assert "5 people in any of them" in page
        link = re.search(r'href="([^"]*all=s0&amp;all=s1&amp;none=s2)"', page)[1].replace("&amp;", "&")
        builder = admin_client.get(link).text
        assert "Number 0 and Number 1 without Number 2" in builder
        assert Segment.objects.count() == 3

    def test_a_list_of_exactly_these(self, admin_client):
        first, second = (
            editing.save(Segment(slug=slug, name=slug.title()), rule)
            for slug, rule in (("all", {"all": []}), ("home", POLES))
        )
        arab, _pole = Profile.objects.create(country="SA"), Profile.objects.create(country="PL")
        posted = {"all": first.slug, "none": second.slug}
        assert admin_client.get(url("compare_list"), posted).status_code == 405
        answer = admin_client.post(url("compare_list"), posted)
        made = Segment.objects.get(kind="list")
        assert made.name == "All without Home, as of today"
        job = ListJob.objects.get(list=made)
        assert answer["Location"] == reverse("admin:campaigns_list_job", args=[job.pk])
        assert evaluate.members(grammar.parse(job.rule)) == [arab.pk]

    def test_one_alone_is_not_compared(self, admin_client, segment):
        assert "Choose two to four" in admin_client.get(url("compare") + "?segment=home&segment=home").text
        with pytest.raises(ValueError, match="two"):
            overlap.compare([segment])


class TestList:
    def test_kinds_changes_and_uses_in_few_statements(
        self, admin_client, segment, django_assert_max_num_queries
    ):
        running_flow("home")
        Segment.objects.create(slug="vips", name="VIPs", kind="list", size=2)
        for number in range(15):
            made = editing.save(Segment(slug=f"s{number}", name=f"S{number}"), POLES)
            SegmentSize.objects.create(segment=made, hour=timezone.now(), size=9, entered=1234, departed=1)
        with django_assert_max_num_queries(13):
            page = admin_client.get(url("changelist")).text
        assert "+1,234" in page
        assert "kept by hand" in page
        assert "not counted yet" in page
        assert "the flow “Hello”" in page
        assert "vips" in admin_client.get(url("changelist") + "?kind__exact=list").text
        used = admin_client.get(url("changelist") + "?used=yes").text
        assert "At home" in used
        assert "S3" not in used
        assert "At home" not in admin_client.get(url("changelist") + "?used=no").text


class TestCounting:
    def test_counting_now_is_asked_for(self, admin_client, segment):
        Segment.objects.filter(pk=segment.pk).update(state="failed", error="Too slow.")
        page = admin_client.get(url("overview", segment.pk)).text
        assert "Too slow." in page
        assert "Count now" in page
        assert admin_client.post(url("count", segment.pk)).status_code == 302
        segment.refresh_from_db()
        assert segment.recount_at is not None

    def test_a_count_can_be_cancelled_while_it_runs(self, admin_client, segment):
        assert "Cancel the count" not in admin_client.get(url("overview", segment.pk)).text
        Segment.objects.filter(pk=segment.pk).update(counting_since=timezone.now())
        page = admin_client.get(url("overview", segment.pk)).text
        assert "Cancel the count" in page
        assert "Count now" not in page
        answer = admin_client.post(url("cancel", segment.pk), follow=True)
        assert "is not being counted any more" in answer.text

    def test_its_plan_is_told(self, admin_client, segment):
        plan = plans.plan(grammar.parse(POLES))
        Segment.objects.filter(pk=segment.pk).update(plan=plan.data(), evaluated_at=timezone.now())
        assert (
            "Counting everybody takes less than a second."
            in admin_client.get(url("overview", segment.pk)).text
        )
