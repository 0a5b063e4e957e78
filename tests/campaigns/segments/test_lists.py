"""Lists: putting people on, taking them off, and filling them from files, segments and rules."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import ListJobReject, Segment, SegmentMembership, SegmentSize
from campaigns.segments import list_files, list_names, list_work, lists, memberships, sizes
from crm import merging, privacy, profiles, tables
from crm.models import Connection, Event, Identifier, IdentityRules, Profile, Upload
from tests.crm.admin.files import excel_file

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
People = st.lists(st.integers(0, 7), max_size=8)


def person(**names):
    """A profile known by these names."""
    [outcome] = profiles.upsert([profiles.row(names)], "test", NOW).outcomes
    return outcome.profile_id


def on(segment):
    """The numbers of the members."""
    return set(SegmentMembership.objects.filter(segment=segment).values_list("profile_id", flat=True))


def upload(segment, text, mode="add", create=False, name="list.csv"):
    """A file, started as its columns are guessed."""
    job = list_files.keep(segment, name, [text.encode()], "ada")
    list_files.describe(job, dict(job.columns), job.encoding, mode, create)
    assert list_work.start(job)
    return job


def done(job):
    """The job after the workers were at it."""
    list_work.work(now=NOW)
    job.refresh_from_db()
    return job


@pytest.fixture
def fair():
    return lists.create("Spring fair", by="ada", now=NOW)


class TestSets:
    @settings(max_examples=12, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["add", "remove", "replace"]), People), min_size=1, max_size=5))
    def test_a_list_is_a_set(self, steps):
        """Whatever is done, once or twice: the members, the size, the log and the history agree."""
        fair = lists.create("Fair")
        people = [Profile.objects.create().pk for _ in range(8)]
        model = set()
        for what, chosen in steps:
            ids = {people[number] for number in chosen}
            before = set(model)
            model = {"add": model | ids, "remove": model - ids, "replace": ids}[what]
            changed = getattr(lists, what)(fair, [people[number] for number in chosen], NOW)
            assert changed == (len(model - before), len(before - model))
            assert getattr(lists, what)(fair, list(ids), NOW) == (0, 0)
        assert on(fair) == model
        assert list(lists.members(fair)) == sorted(model)
        fair.refresh_from_db()
        assert fair.size == len(model)
        told = {name: [] for name in (memberships.ENTERED, memberships.LEFT)}
        for event in Event.objects.filter(profile_id__in=people):
            assert event.properties == {"segment": fair.slug, "name": "Fair", "cause": "list"}
            told[event.name].append(event.profile_id)
        assert len(told[memberships.ENTERED]) - len(told[memberships.LEFT]) == len(model)
        history = SegmentSize.objects.filter(segment=fair).first()
        if told[memberships.ENTERED]:
            assert (history.size, history.entered, history.departed) == (
                len(model),
                len(told[memberships.ENTERED]),
                len(told[memberships.LEFT]),
            )

    def test_many_people_take_several_transactions(self, fair, monkeypatch):
        monkeypatch.setattr(lists, "CHUNK", 3)
        people = [Profile.objects.create().pk for _ in range(8)]
        assert lists.add(fair, people, NOW) == (8, 0)
        assert lists.replace(fair, people[5:], NOW) == (0, 5)
        assert on(fair) == set(people[5:])

    def test_numbers_of_merged_people_mean_who_they_became(self, fair):
        loser, winner, other = (Profile.objects.create().pk for _ in range(3))
        lists.add(fair, [other], NOW)
        merging.merge([(loser, winner)], "admin", NOW)
        assert lists.add(fair, [loser, 999_999], NOW) == (1, 0)
        assert lists.replace(fair, [loser], NOW) == (0, 1)
        assert on(fair) == {winner}
        assert lists.remove(fair, [loser], NOW) == (0, 1)

    def test_erased_people_leave_and_stay_away(self, fair):
        ann = person(email="ann@x.com")
        lists.add(fair, [ann], NOW)
        privacy.erase([ann], "request", NOW)
        assert on(fair) == set()
        assert lists.add(fair, [ann], NOW) == (0, 0)
        sizes.add_up([fair.pk], NOW)
        fair.refresh_from_db()
        assert fair.size == 0

    def test_a_segment_with_a_rule_is_no_list(self):
        segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
        for change in (lists.add, lists.remove, lists.replace):
            with pytest.raises(lists.NotAList):
                change(segment, [1])

    def test_names_of_lists(self, fair):
        assert lists.create("Spring fair").slug == "spring-fair-2"
        assert lists.create("معرض").slug == "list"
        for name, slug, field in (
            (" ", "", "name"),
            ("x", "spring-fair", "slug"),
            ("x", "Not a slug", "slug"),
        ):
            with pytest.raises(lists.ListError) as error:
                lists.create(name, slug)
            assert error.value.field == field


class TestNames:
    def test_the_surest_name_leads_to_the_person(self):
        ann = person(external_id="C1", email="ann@x.com", phone="+48601234567")
        bob = person(external_id="C2")
        Identifier.objects.create(kind="shop:contacts", value="77", profile_id=bob)
        answers = list_names.find(
            [
                {"email": "ANN@x.com "},
                {"external_id": "C2", "email": "ann@x.com"},
                {"external_id": "C9", "email": "ann@x.com"},
                {"phone": "+48 601 234 567"},
                {"shop:contacts": "77"},
                {"id": f"#{bob}"},
                {"id": "x"},
                {"email": "nobody@x.com"},
                {"email": "nonsense"},
                {"email": None, "phone": ""},
            ]
        )
        assert [(one.profile_id, one.code) for one in answers] == [
            (ann, ""),
            (bob, ""),
            (None, "contradiction"),
            (ann, ""),
            (bob, ""),
            (bob, ""),
            (None, "unknown_profile"),
            (None, "unknown_profile"),
            (None, "invalid_email"),
            (None, "missing_field"),
        ]
        assert Profile.objects.count() == 2

    def test_the_rules_of_identity_hold(self):
        ann = person(email="ann@x.com")
        assert list_names.find([{"email": "ann@x.com"}])[0].profile_id == ann
        from crm import identity_rules

        identity_rules.change(email=IdentityRules.Match.NEVER)
        assert list_names.find([{"email": "ann@x.com"}])[0].code == "unknown_profile"

    def test_the_number_of_queries_does_not_grow(self):
        for number in range(20):
            person(email=f"p{number}@x.com")
        counts = []
        for many in (2, 20):
            with CaptureQueriesContext(
                connection,
            ) as asked:
                list_names.find([{"email": f"p{number}@x.com"} for number in range(many)])
            counts.append(len(asked))
        assert counts[0] == counts[1] <= 3


FILE = """E-mail,Customer number,Name
ann@x.com,,Ann
,C2,Bob
nobody@x.com,,Nobody
not an address,,Carl
ann@x.com,,Ann again
,,
"""


class TestFiles:
    @pytest.fixture
    def people(self):
        return person(email="ann@x.com"), person(external_id="C2"), person(email="cem@x.com")

    def test_bad_rows_stand_beside_good_ones(self, fair, people):
        ann, bob, _cem = people
        job = done(upload(fair, FILE))
        assert (job.state, job.problem) == ("done", "")
        assert (job.rows, job.added, job.known, job.rejected) == (5, 2, 1, 2)
        assert on(fair) == {ann, bob}
        assert list(job.rejects.order_by("row").values_list("row", "code", "field")) == [
            (4, "unknown_profile", "E-mail"),
            (5, "invalid_email", "E-mail"),
        ]
        assert Profile.objects.count() == 3
        assert not Upload.objects.exists()
        header, first, second = list_files.rejects(job)
        assert header == [
            *("rejected_row", "rejected_column", "rejected_code", "rejected_reason"),
            *("E-mail", "Customer number", "Name"),
        ]
        assert first[0] == "4"
        assert first[4:] == ["nobody@x.com", "", "Nobody"]
        assert second[4] == "not an address"
        list_work.forget(NOW + timedelta(days=6))
        assert ListJobReject.objects.exists()
        list_work.forget(NOW + timedelta(days=8))
        assert not ListJobReject.objects.exists()

    def test_unknown_people_come_into_being_where_that_is_wanted_but_not_the_erased(self, fair, people):
        gone = person(email="gone@x.com")
        privacy.erase([gone], "request", NOW)
        rows = f"email,nudge_id\nnew@x.com,\ngone@x.com,\n,{gone}\nann@x.com,\n"
        job = done(upload(fair, rows, create=True))
        assert (job.added, job.created, job.rejected) == (2, 1, 2)
        assert list(job.rejects.values_list("code", flat=True)) == ["erased", "erased"]
        new = Profile.objects.get(email="new@x.com")
        assert on(fair) == {new.pk, people[0]}
        assert not Profile.objects.filter(email="gone@x.com").exists()

    def test_replacing_keeps_who_is_named_and_takes_off_the_others(self, fair, people):
        ann, bob, cem = people
        lists.add(fair, [ann, cem], NOW - timedelta(days=1))
        job = done(upload(fair, FILE, mode="replace"))
        assert (job.added, job.removed) == (1, 1)
        assert on(fair) == {ann, bob}
        assert fair.memberships.get(profile=ann).entered_at == NOW - timedelta(days=1)
        job = done(upload(fair, "email\nwho@x.com\n", mode="replace"))
        assert job.state == "failed"
        assert on(fair) == {ann, bob}

    def test_taking_off_by_a_file(self, fair, people):
        ann, bob, cem = people
        lists.add(fair, people, NOW)
        job = done(upload(fair, FILE, mode="remove"))
        assert (job.removed, job.known, job.rejected) == (2, 1, 2)
        assert on(fair) == {cem}

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(1, 4), st.sampled_from(["add", "replace"]), st.integers(0, 3))
    def test_a_worker_that_dies_costs_nothing(self, fair, people, chunk, mode, crash_at):
        """Wherever it dies, the next one goes on: each row counts once, and the outcome is the same."""
        ann, bob, cem = people
        lists.replace(fair, [cem], NOW)
        job = upload(fair, FILE, mode=mode)
        real, calls = memberships.change, []

        def dying(*args, **more):
            calls.append(args)
            changed = real(*args, **more)
            if len(calls) == crash_at + 1:
                raise KeyboardInterrupt
            return changed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(list_work, "CHUNK", chunk)
            patch.setattr(memberships, "change", dying)
            try:
                list_work.work(now=NOW)
            except KeyboardInterrupt:
                job.refresh_from_db()
                assert job.state == "running"
            patch.setattr(memberships, "change", real)
            done(job)
        assert (job.state, job.rows, job.rejected, job.added) == ("done", 5, 2, 2)
        assert on(fair) == ({ann, bob} if mode == "replace" else {ann, bob, cem})

    def test_cancelling_and_going_on(self, fair, people, monkeypatch):
        monkeypatch.setattr(list_work, "CHUNK", 2)
        job = upload(fair, FILE)
        assert list_work.work(seconds=0, now=NOW)
        assert list_work.cancel(job, NOW)
        assert not list_work.work(now=NOW)
        job.refresh_from_db()
        assert (job.state, job.position) == ("cancelled", 2)
        assert list_work.start(job)
        assert done(job).rows == 5
        assert not list_work.start(job)

    def test_preview_writes_nothing(self, fair, people):
        job = list_files.keep(fair, "list.csv", [FILE.encode()], "ada")
        assert dict(job.columns) == {"E-mail": "email", "Customer number": "external_id", "Name": "ignore"}
        preview = list_files.preview(job)
        assert (preview.rows, preview.known, preview.unknown, preview.rejected) == (5, 3, 1, 1)
        assert preview.sample[0].person.pk == people[0]
        assert not on(fair)
        assert list_work.discard(job)
        assert not Upload.objects.exists()

    def test_files_that_are_none(self, fair):
        for content in (b"", b"ann@x.com\nbob@x.com\n", b"\xd0\xcf\x11\xe0rest"):
            with pytest.raises(tables.TableError):
                list_files.keep(fair, "x.csv", [content])
        assert not Upload.objects.exists()
        job = list_files.keep(fair, "x.csv", [b"a,b\n1,2\n"])
        for told in ({"a": "ignore"}, {"a": "email", "b": "email"}, {"a": "shop:gone"}):
            with pytest.raises(ValueError, match="."):
                list_files.describe(job, told, "utf-8", "add", False)

    def test_an_excel_file_by_the_ids_of_a_crm(self, fair, people):
        connection = Connection.objects.create(
            kind="fake", name="Shop", slug="shop", state="active", mapping={"contacts": {}}
        )
        Identifier.objects.create(kind=f"{connection.slug}:contacts", value="77", profile_id=people[1])
        rows = [("Name", "nudge_shop_contacts"), ("Bob", 77), ("Who", 78)]
        job = list_files.keep(fair, "people.xlsx", excel_file(*rows).chunks())
        assert dict(job.columns) == {"Name": "ignore", "nudge_shop_contacts": "shop:contacts"}
        list_work.start(job)
        assert (done(job).added, job.rejected) == (1, 1)
        assert on(fair) == {people[1]}

    def test_rows_of_names_that_a_program_sends(self, fair, people):
        job = list_files.from_names(
            fair, iter([{"email": "ann@x.com"}, {"phone": "+48601234567"}]), create_unknown=True
        )
        list_work.start(job)
        done(job)
        assert (job.added, job.created) == (2, 1)
        assert Profile.objects.get(phone="+48601234567").pk in on(fair)


class TestSnapshots:
    def test_a_segments_members_and_a_rules_people(self):
        ann, bob = Profile.objects.create(country="PL").pk, Profile.objects.create().pk
        source = Segment.objects.create(slug="poles", name="Poles", rule={"all": []})
        SegmentMembership.objects.create(segment=source, profile_id=ann, entered_at=NOW)
        made, job = list_work.snapshot(source, "Poles now", by="ada")
        done(job)
        assert (job.state, on(made)) == ("done", {ann})
        rule = {"kind": "attribute", "field": "country", "op": "is_not_set"}
        other, job = list_work.snapshot(rule, "Not known")
        assert (done(job).state, on(other)) == ("done", {bob})
        made.refresh_from_db()
        assert (made.kind, made.size, made.state) == ("list", 1, "ready")
        assert not Event.objects.filter(name=memberships.ENTERED).exists()  # nobody entered anything

    def test_chosen_people_in_many_pieces(self, fair, monkeypatch):
        monkeypatch.setattr(list_work, "CHUNK", 2)
        people = [Profile.objects.create().pk for _ in range(5)]
        lists.add(fair, people[:1], NOW)
        job = list_work.fill(fair, [*people, 999_999], by="ada")
        done(job)
        assert (job.rows, job.added, job.known, job.rejected) == (6, 4, 1, 1)
        done(list_work.fill(fair, people[3:], "replace"))
        assert on(fair) == set(people[3:])

    def test_what_cannot_be_counted_fails_alone(self):
        broken = Segment.objects.create(slug="gone", name="Gone", rule={"all": []})
        first, job = list_work.snapshot(broken, "A copy")
        broken.delete()
        people = [Profile.objects.create().pk]
        second = list_work.fill(lists.create("Other"), people)
        done(job)
        second.refresh_from_db()
        assert (job.state, second.state) == ("failed", "done")
        assert "gone" in job.problem
