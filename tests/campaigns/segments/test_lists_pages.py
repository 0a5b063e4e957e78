"""Lists and members in the admin: who may do what, and what comes of it."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns import tasks
from campaigns.models import ListJob, Segment, SegmentMembership
from campaigns.segments import list_work, lists, members
from crm import merging, portability, profiles
from crm.models import AuditEntry, Profile

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
EDITOR = ("view_segment", "add_segment", "change_segment", "view_profile", "view_contact_data")
FILE = "E-mail;Name\nann@x.com;Ann\nwho@x.com;=cmd\n"


def person(**fields):
    [outcome] = profiles.upsert([profiles.row(fields)], "test", NOW).outcomes
    return outcome.profile_id


def client(*rights):
    user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    browser = Client()
    browser.force_login(user)
    return browser


def url(name, *args):
    return reverse(f"admin:campaigns_{name}", args=args)


def on(segment):
    return set(SegmentMembership.objects.filter(segment=segment).values_list("profile_id", flat=True))


@pytest.fixture
def fair():
    return lists.create("Spring fair", now=NOW)


@pytest.fixture
def ann():
    return person(email="ann@x.com", first_name="Ann", last_name="Lee")


def test_from_a_new_list_to_a_file_of_rejects(ann):
    editor = client(*EDITOR)
    assert editor.get(url("list_add")).status_code == 200
    assert (
        "Give the list a name" in editor.post(url("list_add"), {"name": " ", "how": "file"}).content.decode()
    )
    to_upload = editor.post(url("list_add"), {"name": "Fair & more", "how": "file"})
    segment = Segment.objects.get(kind="list")
    assert to_upload.url == url("list_upload", segment.pk)
    assert "Choose a file" in editor.post(to_upload.url).content.decode()
    to_columns = editor.post(to_upload.url, {"file": SimpleUploadedFile("fair.csv", FILE.encode())})
    job = ListJob.objects.get()
    shown = editor.get(to_columns.url).content.decode()
    assert "E-mail" in shown
    assert "=cmd" not in shown
    form = {"role-0": "email", "role-1": "ignore", "mode": "add", "encoding": "utf-8"}
    preview = editor.post(url("list_job_preview", job.pk), form).content.decode()
    assert "Ann Lee" in preview
    assert "Nobody is known by this" in preview
    bad = editor.post(url("list_job_start", job.pk), {**form, "role-0": "ignore"})
    assert "Choose the column" in bad.content.decode()
    assert editor.post(url("list_job_start", job.pk), form).url == url("list_job", job.pk)
    tasks.fill_lists()
    status = editor.get(url("list_job_status", job.pk)).content.decode()
    assert "who@x.com" in status
    assert on(segment) == {ann}
    file = b"".join(editor.get(url("list_job_rejected", job.pk)).streaming_content).decode()
    assert file.splitlines()[1].endswith("who@x.com,'=cmd")
    assert AuditEntry.objects.filter(action="list.filled", object_id=str(segment.pk)).exists()


def test_a_snapshot_by_the_new_list_page_and_by_the_segments(ann):
    source = Segment.objects.create(slug="all", name="All", rule={"all": []}, state="ready")
    SegmentMembership.objects.create(segment=source, profile_id=ann, entered_at=NOW)
    editor = client(*EDITOR)
    posted = {"name": "Copy", "how": "copy", "source": "all"}
    assert "Choose the segment" in editor.post(url("list_add"), posted | {"source": ""}).content.decode()
    assert editor.post(url("list_add"), posted).status_code == 302
    assert editor.post(url("list_snapshot", source.pk), {"name": "Another"}).status_code == 302
    list_work.work(now=NOW)
    assert [on(segment) for segment in Segment.objects.filter(kind="list")] == [{ann}, {ann}]


class TestMembers:
    def test_since_when_and_why_they_are_in(self, fair, ann):
        lists.add(fair, [ann], NOW)
        bob = Profile.objects.create(first_name="Bob")
        SegmentMembership.objects.create(segment=fair, profile=bob, entered_at=NOW)
        [newest, first] = members.page(fair).rows
        assert (newest.profile, newest.cause) == (bob, "")
        assert (first.profile.pk, first.since, first.cause, first.event) == (ann, NOW, "list", "")
        shown = client(*EDITOR).get(url("segment_members", fair.pk)).content.decode()
        assert "Ann Lee" in shown
        assert "by hand" in shown

    def test_page_after_page_everybody_comes_once_by_as_many_queries(self, fair):
        people = [Profile.objects.create(first_name=f"P{number}").pk for number in range(12)]
        lists.add(fair, people, NOW)
        found, after, counts = [], None, []
        while True:
            with CaptureQueriesContext(connection) as asked:
                page = members.page(fair, after, 5)
            counts.append(len(asked))
            found += [member.profile.pk for member in page.rows]
            after = page.next
            if after is None:
                break
        assert found == people[::-1]
        assert counts == [3, 3, 3]
        assert not any("count(" in query["sql"].lower() for query in asked)

    def test_searching_by_name(self, fair, ann, monkeypatch):
        bob = person(email="bob@x.com", first_name="Bob")
        person(email="annette@x.com", first_name="Annette")
        lists.add(fair, [ann, bob], NOW)
        editor = client(*EDITOR)
        for rare in (members.RARE, 0):
            monkeypatch.setattr(members, "RARE", rare)
            shown = editor.get(url("segment_members", fair.pk), {"q": "ann"}).content.decode()
            assert shown.count('data-testid="member"') == 1
            assert "Ann Lee" in shown
            assert "Annette" not in shown

    def test_putting_on_and_taking_off_by_hand(self, fair, ann):
        bob = person(external_id="C-2", phone="+48601234567")
        editor = client(*EDITOR)
        typed = "ann@x.com\n+48 601 234 567\nnobody@x.com\n"
        answer = editor.post(url("list_put", fair.pk), {"people": typed}).content.decode()
        assert on(fair) == {ann, bob}
        assert answer.count("nobody@x.com") == 2  # why, and to be corrected
        assert editor.post(url("list_put", fair.pk), {"people": f"#{ann}"}).status_code == 302
        back = editor.post(url("list_remove", fair.pk), {"people": [ann, "x"], "shown": "q=a&x=//evil"})
        assert back.url.startswith(url("segment_members", fair.pk) + "?")
        assert on(fair) == {bob}
        assert (
            "Name at most" in editor.post(url("list_put", fair.pk), {"people": "x\n" * 101}).content.decode()
        )

    def test_a_segments_members_follow_its_rule(self, ann):
        segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
        editor = client(*EDITOR)
        assert editor.get(url("segment_members", segment.pk)).status_code == 200
        assert editor.post(url("list_put", segment.pk), {"people": f"#{ann}"}).status_code == 403
        assert editor.post(url("list_remove", segment.pk), {"people": [ann]}).status_code == 403
        assert editor.get(url("list_upload", segment.pk)).status_code == 404


class TestPeople:
    def test_chosen_people_go_from_the_list_of_profiles_to_a_list(self, fair, ann):
        bob = person(email="bob@x.com")
        editor = client(*EDITOR)
        profiles_page = reverse("admin:crm_profile_changelist")
        action = {"action": "put_on_list", "_selected_action": [ann, bob]}
        to = editor.post(profiles_page, action).url
        assert "2 people" in editor.get(to).content.decode()
        assert "Choose a list" in editor.post(to, {"list": "gone"}).content.decode()
        assert editor.post(to, {"list": fair.slug}).url == url("segment_members", fair.pk)
        assert on(fair) == {ann, bob}
        editor.post(to, {"list": fair.slug, "what": "remove"})
        assert on(fair) == set()
        editor.post(to, {"list": "new", "name": "Other"})
        assert on(Segment.objects.get(slug="other")) == {ann, bob}

    def test_all_that_the_list_shows_go_in_the_background(self, fair, ann, monkeypatch):
        from campaigns.admin.segments import lists as pages

        monkeypatch.setattr(pages, "AT_ONCE", 1)
        bob = person(email="bob@x.com", country="PL")
        cem = person(email="cem@x.com", country="PL")
        editor = client(*EDITOR)
        action = {"action": "put_on_list", "_selected_action": [bob], "select_across": "1"}
        to = editor.post(reverse("admin:crm_profile_changelist") + "?country=PL", action).url
        job = editor.post(to, {"list": fair.slug})
        assert job.url == url("list_job", ListJob.objects.get().pk)
        list_work.work(now=NOW)
        assert on(fair) == {bob, cem}

    def test_one_persons_lists(self, fair, ann):
        other = lists.create("Other")
        lists.add(other, [ann], NOW)
        editor = client(*EDITOR)
        assert (
            url("list_person", ann)
            in editor.get(reverse("admin:crm_profile_change", args=[ann])).content.decode()
        )
        page = url("list_person", ann)
        assert editor.get(page).content.decode().count(" checked") == 1
        editor.post(page, {"shown": [fair.pk, other.pk], "lists": [fair.pk], "name": "Brand new"})
        assert (on(fair), on(other), on(Segment.objects.get(slug="brand-new"))) == ({ann}, set(), {ann})

    def test_membership_is_told_to_the_person_and_moves_with_a_merge(self, fair, ann):
        lists.add(fair, [ann], NOW)
        [part] = [part for part in portability.parts() if part.name == "segments"]
        assert [row["segment__slug"] for row in part.rows(ann)] == ["spring-fair"]
        winner = person(email="new@x.com")
        merging.merge([(ann, winner)], "admin", NOW)
        assert on(fair) == {winner}


class TestRights:
    PAGES = ("list_add", "list_upload", "list_snapshot", "segment_members", "list_people", "list_person")

    def answers(self, browser, fair, ann):
        """The status of each page."""
        where = {"list_add": [], "list_people": [], "list_person": [ann]}
        chosen = {"list_people": {"_chosen": str(ann)}}
        return {
            name: browser.get(url(name, *where.get(name, [fair.pk])), chosen.get(name, {})).status_code
            for name in self.PAGES
        }

    def test_who_may_change_segments_and_see_people_may_do_all(self, fair, ann):
        assert set(self.answers(client(*EDITOR), fair, ann).values()) == {200}

    @pytest.mark.parametrize(
        ("missing", "refused"),
        [
            ("add_segment", {"list_add", "list_snapshot"}),
            ("change_segment", {"list_upload", "list_people", "list_person"}),
            ("view_profile", {"list_upload", "segment_members", "list_people", "list_person"}),
            ("view_contact_data", {"list_upload"}),
        ],
    )
    def test_each_right_is_needed(self, fair, ann, missing, refused):
        browser = client(*(right for right in EDITOR if right != missing))
        answers = self.answers(browser, fair, ann)
        assert {name for name, status in answers.items() if status == 403} == refused

    def test_who_only_looks_changes_nothing(self, fair, ann):
        lists.add(fair, [ann], NOW)
        job = list_work.fill(fair, [ann])
        viewer = client("view_segment", "view_profile")
        for name in ("list_put", "list_remove"):
            assert viewer.post(url(name, fair.pk), {"people": str(ann)}).status_code == 403
        for name in ("start", "cancel", "discard"):
            assert viewer.post(url(f"list_job_{name}", job.pk)).status_code == 403
            assert viewer.get(url(f"list_job_{name}", job.pk)).status_code == 404
        assert viewer.get(url("list_job", job.pk)).status_code == 200
        assert viewer.get(url("list_job_rejected", job.pk)).status_code == 403

    def test_who_sees_outlines_finds_nobody_out(self, fair, ann):
        lists.add(fair, [ann], NOW)
        masked = client("view_segment", "change_segment", "view_profile")
        shown = masked.get(url("segment_members", fair.pk)).content.decode()
        assert "Ann L." in shown
        assert "ann@x.com" not in shown
        found = masked.get(url("segment_members", fair.pk), {"q": "ann@x.com"}).content.decode()
        assert 'data-testid="member"' not in found
        lists.remove(fair, [ann])
        masked.post(url("list_put", fair.pk), {"people": "ann@x.com"})
        assert on(fair) == set()
        masked.post(url("list_put", fair.pk), {"people": str(ann)})
        assert on(fair) == {ann}
        assert masked.get(url("list_people"), {"email__startswith": "ann"}).status_code == 403
        rule = {"kind": "attribute", "field": "email", "op": "eq", "value": "ann@x.com"}
        asking = Segment.objects.create(slug="one", name="One", rule=rule)
        assert masked.get(url("segment_members", asking.pk)).status_code == 403
