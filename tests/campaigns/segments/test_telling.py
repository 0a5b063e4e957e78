"""Who sees people in outline can't find their contact data out by what others have asked."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse

from campaigns.models import ListJob, Segment
from campaigns.segments import editing, list_files, lists, refresh, states, telling
from crm import api_keys, masking, profiles
from crm.models import ApiKey, ComputedAttribute, Profile
from tests.crm.api.conftest import Caller

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAIL = {"kind": "attribute", "field": "email", "op": "contains", "value": "ann@"}
VIA = {"all": [{"not": {"kind": "segment", "slug": "mail"}}]}
LATELY = {
    "kind": "event",
    "name": "segment_entered",
    "where": [{"property": "segment", "op": "eq", "value": "mail"}],
}


@pytest.fixture
def ann():
    profiles.upsert([profiles.row({"email": "ann@x.com", "first_name": "Ann", "country": "PL"})], "test", NOW)
    return Profile.objects.get()


@pytest.fixture
def segments(ann):
    """`mail` asks for an address, `via` asks for who is in it, `poles` for neither."""
    rules = {
        "mail": MAIL,
        "via": VIA,
        "poles": {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
    }
    made = {}
    for slug, rule in rules.items():
        made[slug] = editing.save(Segment(slug=slug, name=f"Those of {slug}"), rule, "ada")
        refresh.refresh(made[slug])
    return made


def client(*rights):
    user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def masked():
    return client("view_segment", "add_segment", "change_segment", "view_profile")


def url(name, *args):
    return reverse(f"admin:campaigns_{name}", args=args)


def posted(kind, **inputs):
    """The builder's form with one condition."""
    values = {f"n1.{name}": value for name, value in inputs.items()}
    return {"node": ["n0", "n1"], "n0.kind": "group", "n1.kind": kind, "n1.parent": "n0", **values}


def test_what_a_rule_leads_to_counts_as_asked(segments):
    ComputedAttribute.objects.create(
        slug="last",
        name="Last",
        config={"kind": "last", "event": "asked", "property": "phone"},
    )
    asked = [MAIL, VIA, LATELY, {"kind": "segment", "slug": "via"}]
    asked.append({"kind": "attribute", "field": "computed.last", "op": "starts_with", "value": "7"})
    asked.append({"kind": "attribute", "field": "attributes.email.work", "op": "starts_with", "value": "a"})
    fair = [
        segments["poles"].rule,
        {"kind": "segment", "slug": "poles"},
        {"kind": "segment", "slug": "\0"},
        None,
    ]
    assert not any(map(telling.tells, asked))
    assert telling.hidden_slugs() == set()
    with masking.hiding():
        assert all(map(telling.tells, asked))
        assert not any(map(telling.tells, fair))
        assert telling.hidden_slugs() == {"mail", "via"}


def test_pages_tell_nobody_apart_by_what_others_asked(masked, segments, ann):
    for slug in ("mail", "via"):
        pk = segments[slug].pk
        assert masked.get(url("segment_members", pk)).status_code == 403
        assert masked.get(url("list_snapshot", pk)).status_code == 403
        assert masked.post(url("list_snapshot", pk), {"name": "Copy"}).status_code == 403
        copy = {"name": "Copy", "how": "copy", "source": slug}
        assert masked.post(url("list_add"), copy).status_code == 403
        assert masked.post(url("segment_compare_list"), {"all": slug}).status_code == 403
        opened = masked.get(url("segment_change", pk), follow=True)
        assert opened.redirect_chain[0][0] == url("segment_overview", pk)
        assert "ann@" not in opened.content.decode()
        form = posted("segment", slug=slug)
        assert masked.post(url("segment_preview"), form).status_code == 403
        assert masked.post(url("segment_explain"), {**form, "person": f"#{ann.pk}"}).status_code == 403
        assert masked.post(url("segment_restore", pk, 1)).status_code == 403
    assert not Segment.objects.filter(kind=Segment.Kind.LIST).exists()
    compared = masked.get(url("segment_compare"), {"segment": ["poles", "mail"]}).content.decode()
    assert "Those of mail" not in compared
    assert "Those of poles" in compared
    on = masked.get(reverse("admin:profile_segments", args=[ann.pk])).content.decode()
    assert "Those of poles" in on
    assert "Those of mail" not in on


def test_what_saving_would_change_is_told_of_nothing_hidden(masked, segments):
    form = {**posted("segment", slug="poles"), "exact": "1"}
    for slug, told in (("mail", False), ("poles", True)):
        answer = masked.post(url("segment_preview"), {**form, "segment": segments[slug].pk})
        assert answer.status_code == 200
        assert ("effect" in answer.context) is told


def test_who_came_in_last_is_not_shown(masked, segments, ann):
    editing.save(segments["mail"], {**MAIL, "value": "nobody@"}, "ada")
    refresh.refresh(Segment.objects.get(slug="mail"))
    overview = url("segment_overview", segments["mail"].pk)
    seeing = client("view_segment", "view_profile", "view_contact_data")
    assert 'data-testid="moves"' in seeing.get(overview).content.decode()
    assert 'data-testid="moves"' not in masked.get(overview).content.decode()


def test_the_words_of_the_database_name_nobody():
    error = DatabaseError('invalid input syntax for type numeric: "ann@x.com"\nDETAIL: ann@x.com')
    assert "ann@" not in states.reason(error, 1_000)


def test_a_file_of_others_is_not_tried_out(masked):
    fair = lists.create("Fair")
    job = list_files.keep(fair, "a.csv", [b"email\nann@x.com\n"], "ada")
    assert masked.post(url("list_job_start", job.pk), {"role-0": "email"}).status_code == 403
    assert ListJob.objects.get().state == ListJob.State.DRAFT


def test_keys_that_see_outlines_are_told_no_more(segments, ann):
    key, text = api_keys.create("analyst", ["read", "write"])
    ApiKey.objects.filter(pk=key.pk).update(scopes=["read_masked", "write"])
    analyst = Caller(text)
    for slug in ("mail", "via"):
        for path in ("members/", "members/?expand=profile"):
            assert analyst.get(f"segments/{slug}/{path}").status_code == 403
        assert analyst.post(f"segments/{slug}/explain/", {"profile": {"id": ann.pk}}).status_code == 403
        assert analyst.post(f"segments/{slug}/snapshot/", {"name": "Copy"}).status_code == 403
        rule = {"kind": "segment", "slug": slug}
        assert analyst.post("segments/preview/", {"rule": rule}).status_code == 403
        assert analyst.post("segments/", {"slug": "c", "name": "C", "rule": rule}).status_code == 403
        assert analyst.post("segments/overlap/", {"segments": ["poles", slug]}).status_code == 403
    on = analyst.get(f"profiles/{ann.pk}/segments/").json()["segments"]
    assert [row["slug"] for row in on] == ["poles"]
    whole = Caller(api_keys.create("reader", ["read"])[1])
    assert whole.get("segments/mail/members/").status_code == 200
    on = whole.get(f"profiles/{ann.pk}/segments/").json()["segments"]
    assert [row["slug"] for row in on] == ["mail", "poles"]
