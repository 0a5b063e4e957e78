"""Saving reports, their pages, and what each role may do with them."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from analytics.models import ReportRecipient, SavedReport
from analytics.reporting import registry
from analytics.saved import listing, store
from campaigns.models import Segment
from config import roles
from crm.models import Role

pytestmark = pytest.mark.django_db
CHANGE = "admin:analytics_savedreport_change"


@pytest.fixture
def person():
    """Makes staff of a role."""
    roles.ensure()

    def make(name: str, role: str) -> User:
        user = User.objects.create_user(name, f"{name}@example.com", is_staff=True)
        user.groups.add(Role.objects.get(slug=role).group)
        return User.objects.get(pk=user.pk)

    return make


def save(client, slug: str = "channels", **data: str):
    return client.post(
        reverse("admin:report_save", args=[slug]),
        {"parameters": "period=7&country=PL", "name": "Poland", **data},
    )


def form(saved: SavedReport, *recipients: dict[str, str], **data: object) -> dict[str, object]:
    """What the page of a saved report posts."""
    fields = {
        "name": saved.name,
        "shared": saved.shared,
        "every": "",
        "weekday": "0",
        "day": "1",
        "at": "08:00",
    }
    fields |= {"attach": "xlsx", "only": "", **data}
    there = list(saved.recipients.order_by("pk"))
    fields |= {"recipients-TOTAL_FORMS": len(recipients) + len(there), "recipients-INITIAL_FORMS": len(there)}
    for place, row in enumerate(there):
        kept = {"id": row.pk, "saved": saved.pk, "user": row.user_id or "", "address": row.address}
        fields |= {
            f"recipients-{place}-{name}": value for name, value in {**kept, "language": row.language}.items()
        }
    for place, given in enumerate(recipients, len(there)):
        given = {"saved": str(saved.pk), "user": "", "address": "", "language": "en", **given}
        fields |= {f"recipients-{place}-{name}": value for name, value in given.items()}
    return fields


def test_what_is_shown_is_kept_under_a_name(client, person):
    user = person("mia", "marketer")
    client.force_login(user)
    response = save(client, shared="everyone")
    assert response.status_code == 302
    assert response["Location"].endswith("/reports/channels/?period=7&country=PL")
    save(client, parameters="period=30&country=FR")
    saved = SavedReport.objects.get()
    assert (saved.params, saved.shared, saved.owner) == ({"country": "FR"}, "private", user), (
        "the same name again"
    )
    assert save(client, parameters="period=someday").status_code == 302
    assert save(client, parameters="country=P%00L").status_code == 302, "what no text can hold"
    assert save(client, name=" ").status_code == 302
    assert SavedReport.objects.count() == 1
    assert save(client, "chairs").status_code == 404
    assert client.get(reverse("admin:report_save", args=["channels"])).status_code == 405
    [row] = listing(user, "channels")
    assert (row.name, row.mine, row.problem, row.params) == ("Poland", True, "", {"country": "FR"})
    assert row.url.endswith("?country=FR")
    assert listing(user, "messages") == []


def test_everybody_sees_their_own_and_what_is_shared(client, person):
    mia, ana = person("mia", "marketer"), person("ana", "analyst")
    dev, ada = person("dev", "developer"), person("ada", "administrator")
    store.keep(mia, "channels", {}, "Mine")
    store.keep(mia, "channels", {}, "Ours", shared=True)
    store.keep(ana, "channels", {}, "Ana's")

    def seen(user: User) -> list[tuple[str, bool]]:
        return [(row.name, bool(row.edit_url)) for row in listing(user)]

    assert seen(mia) == [("Mine", True), ("Ours", True)]
    assert seen(ana) == [("Ana's", True), ("Ours", False)]
    assert seen(dev) == []
    assert seen(ada) == [("Ana's", True), ("Mine", True), ("Ours", True)]
    ours = SavedReport.objects.get(name="Ours")
    partner = ours.recipients.create(address="boss@partner.example")
    ours.mails.create(recipient=partner, due_at=timezone.now(), try_at=timezone.now())
    SavedReport.objects.filter(pk=ours.pk).update(last_error="boss@partner.example is full")
    client.force_login(ana)
    response = client.get(reverse(CHANGE, args=[ours.pk]))
    assert response.status_code == 200, "to be looked at"
    pages = response.content + client.get(reverse("admin:analytics_savedreport_changelist")).content
    assert b"Ours" in pages
    assert b"partner.example" not in pages, "whom its owner sends it to"
    client.force_login(mia)
    assert b"partner.example is full" in client.get(reverse(CHANGE, args=[ours.pk])).content
    client.force_login(ana)
    assert client.post(reverse(CHANGE, args=[ours.pk]), form(ours, name="Stolen")).status_code == 403
    assert client.post(reverse("admin:analytics_savedreport_delete", args=[ours.pk])).status_code == 403
    mine = SavedReport.objects.get(name="Mine")
    assert client.get(reverse(CHANGE, args=[mine.pk])).status_code == 302, "nobody else knows of it"


def test_the_list_tells_what_has_gone_in_few_queries(client, person, django_assert_max_num_queries):
    mia = person("mia", "marketer")
    segment = Segment.objects.create(slug="vip", name="VIP", rule={})
    for number in range(6):
        store.keep(mia, "channels", {"segment": str(segment.pk)}, f"R{number}")
    segment.delete()
    with django_assert_max_num_queries(12):
        assert all("segment" in row.problem for row in listing(mia))
    client.force_login(mia)
    client.get(reverse("admin:analytics_savedreport_changelist"))
    with django_assert_max_num_queries(20):
        page = client.get(reverse("admin:analytics_savedreport_changelist"))
    assert page.content.decode().count("was deleted") == 6
    assert (
        "was deleted" in client.get(reverse(CHANGE, args=[SavedReport.objects.first().pk])).content.decode()
    )


def test_a_schedule_is_set_and_comes_to_whoever_sets_it(client, person):
    ana = person("ana", "analyst")
    saved = store.keep(ana, "channels", {}, "Weekly")
    client.force_login(ana)
    url = reverse(CHANGE, args=[saved.pk])
    assert client.post(url, form(saved, every="week", weekday="2")).status_code == 302
    saved.refresh_from_db()
    assert saved.next_at is not None
    assert saved.next_at > timezone.now()
    assert saved.next_at.weekday() == 2
    [recipient] = saved.recipients.all()
    assert recipient.user == ana
    page = client.get(url).content.decode()
    assert 'name="recipients-0-language"' in page
    gone = {"recipients-0-DELETE": "on"}
    client.post(url, {**form(saved, every="week", weekday="2"), **gone})
    assert not saved.recipients.filter(pk=recipient.pk).exists()
    client.post(url, form(saved, every="week", weekday="2", paused="on"))
    saved.refresh_from_db()
    assert saved.next_at is None


def test_an_analyst_mails_nobody_else_and_a_marketer_anybody(client, person):
    ana, mia = person("ana", "analyst"), person("mia", "marketer")
    of_ana, of_mia = store.keep(ana, "channels", {}, "A"), store.keep(mia, "channels", {}, "M")
    client.force_login(ana)
    url = reverse(CHANGE, args=[of_ana.pk])
    assert client.post(url, form(of_ana, {"user": str(mia.pk)}, every="day")).status_code == 200, "an error"
    client.post(url, form(of_ana, {"address": "x@example.com"}, every="day"))
    assert [(row.user, row.address) for row in ReportRecipient.objects.all()] == [(ana, "")]
    client.force_login(mia)
    url = reverse(CHANGE, args=[of_mia.pk])
    both = form(of_mia, {"user": str(ana.pk)}, {"address": "x@example.com", "language": "ar"}, every="day")
    assert client.post(url, both).status_code == 302
    page = client.post(url, form(of_mia, {"user": str(mia.pk), "address": "y@example.com"}))
    assert "Choose a user, or type an address." in page.content.decode()
    found = set(of_mia.recipients.values_list("user__username", "address", "language"))
    assert found == {("ana", "", "en"), (None, "x@example.com", "ar")}


def test_mail_it_to_me_now_without_an_account_says_what_to_do(client, person, settings):
    settings.EMAIL_HOST = ""
    mia = person("mia", "marketer")
    saved = store.keep(mia, "channels", {}, "M")
    client.force_login(mia)
    page = client.post(reverse(CHANGE, args=[saved.pk]), {**form(saved), "mail_me": "1"}, follow=True)
    assert "Sending accounts" in page.content.decode()


def test_the_reports_of_a_role_are_those_it_may_see(person):
    seen = {role: {report.slug for report in registry.seen_by(person(role, role))} for role in roles.ROLES}
    assert seen["administrator"] == seen["marketer"] == set(registry.reports())
