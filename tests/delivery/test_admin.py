"""The admin pages of messages and deliveries, as a marketer uses them."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from crm.models import Identifier
from delivery import authoring, dispatch
from delivery.models import Delivery, Message, MessageContent
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
ADD = "/admin/delivery/message/add/"


@pytest.fixture
def marketer(client) -> object:
    """Logged in, may do everything."""
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@pytest.fixture(autouse=True)
def _plain_menu(settings) -> None:
    """The menu leads to pages of all apps, which have tests of their own."""
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}


def form(*contents: dict[str, str], saved: int = 0, **fields: str) -> dict[str, str]:
    data = {
        "name": "Welcome",
        "slug": "welcome",
        "topic": "",
        "expires_after_hours": "24",
        "goal_event": "purchase",
        "goal_window_hours": "72",
        "goal_value_property": "total",
        "contents-webpush-TOTAL_FORMS": str(len(contents)),
        "contents-inapp-TOTAL_FORMS": "0",
        "contents-inapp-INITIAL_FORMS": "0",
        "contents-webpush-INITIAL_FORMS": str(saved),
        **fields,
    }
    for number, content in enumerate(contents):
        data |= {
            f"contents-webpush-{number}-{name}": value
            for name, value in {"locale": "", "urgency": "normal", **content}.items()
        }
    return data


def test_a_message_is_written_in_two_languages(marketer) -> None:
    response = marketer.post(
        ADD,
        form(
            {"title": "Hello {{ profile.first_name }}", "body": "Look", "url": "/new"},
            {"locale": "AR_sa", "title": "مرحبا", "action_1_title": "تسوق", "action_1_url": "/shop"},
        ),
    )
    assert response.status_code == 302, response.context["errors"]
    message = Message.objects.get(slug="welcome")
    assert {c.locale: c.content for c in message.contents.all()} == {
        "": {"title": "Hello {{ profile.first_name }}", "body": "Look", "url": "/new", "urgency": "normal"},
        "ar-SA": {"title": "مرحبا", "urgency": "normal", "actions": [{"title": "تسوق", "url": "/shop"}]},
    }
    assert set(message.contents.values_list("channel", "variant")) == {("webpush", "a")}


def test_a_message_may_be_for_the_site_alone(marketer) -> None:
    data = {k: v for k, v in form().items() if not k.startswith("contents-")} | {
        "contents-webpush-TOTAL_FORMS": "0",
        "contents-webpush-INITIAL_FORMS": "0",
        "contents-inapp-TOTAL_FORMS": "1",
        "contents-inapp-INITIAL_FORMS": "0",
        "contents-inapp-0-title": "Ten <b>per cent",
        "contents-inapp-0-button": "Look",
        "contents-inapp-0-url": "javascript:alert(1)",
        "contents-inapp-0-style": "modal",
    }
    assert "is not a link" in marketer.post(ADD, data).content.decode()
    data["contents-inapp-0-url"] = "/offers"
    preview = marketer.post(
        reverse("admin:delivery_message_preview"), {**data, "preview_form": "contents-inapp-0"}
    ).content.decode()
    assert "inapp is-modal" in preview
    assert "Ten &lt;b&gt;per cent" in preview
    assert marketer.post(ADD, data).status_code == 302
    content = Message.objects.get().contents.get()
    assert (content.channel, content.content["url"]) == ("inapp", "/offers")
    url = reverse("admin:delivery_message_change", args=[content.message_id])
    assert 'name="contents-webpush-0-title"' not in marketer.get(url).content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_after_hours": "2147483647"},
        {"expires_after_hours": "0"},
        {"goal_window_hours": "2147483647"},
        {"name": "x" * 201},
    ],
)
def test_what_could_stop_others_is_refused(marketer, wrong: dict[str, str]) -> None:
    """A moment so far away that none of the database's is would fail whatever is done along with it."""
    page = marketer.post(ADD, form({"title": "Hello"}, **wrong)).content.decode()
    assert ("Between 1 and 8784 hours." if "name" not in wrong else "200 characters at most") in page
    assert not Message.objects.exists()
    fields = {"name": "Welcome"} | {
        key: int(value) if value.isdigit() else value for key, value in wrong.items()
    }
    with pytest.raises(authoring.Refused):
        authoring.save("welcome", fields, [authoring.Words("webpush", "a", "", {"title": "Hello"})])


def test_mistakes_are_shown_at_their_fields(marketer) -> None:
    response = marketer.post(
        ADD, form({"title": "Hi {{ profile.first_name", "body": "a\n{% if x %}", "url": "nowhere"})
    )
    assert response.status_code == 200
    text = response.content.decode()
    assert "line 1: " in text
    assert "line 2: " in text
    assert "is not a link" in text
    assert not Message.objects.exists()


def test_a_message_needs_words(marketer) -> None:
    response = marketer.post(ADD, form({}))
    assert response.status_code == 200
    assert not Message.objects.exists()


def test_one_text_per_language(marketer) -> None:
    response = marketer.post(ADD, form({"title": "a", "locale": "ar"}, {"title": "b", "locale": "AR"}))
    assert "There is a text for this language already." in response.content.decode()


def test_editing_keeps_what_the_form_does_not_show(marketer) -> None:
    message = world.message(
        channel="webpush", content={"title": "Old", "badge": "/b.png", "data": {"k": "v"}}
    )
    row = message.contents.get()
    url = reverse("admin:delivery_message_change", args=[message.pk])
    assert "Old" in marketer.get(url).content.decode()
    data = form({"id": str(row.pk), "message": str(message.pk), "title": "New"}, saved=1)
    assert marketer.post(url, data).status_code == 302
    row.refresh_from_db()
    assert row.content == {"title": "New", "badge": "/b.png", "data": {"k": "v"}, "urgency": "normal"}


def test_the_preview_is_filled_in_for_the_chosen_person(marketer) -> None:
    ann = world.person(1, first_name="<Ann>")
    Identifier.objects.create(kind="email", value=ann.email, profile=ann)
    data = form({"title": "Hi {{ profile.first_name }}", "body": "{{ profile.attributes.plan }}"})
    url = reverse("admin:delivery_message_preview")
    text = marketer.post(url, {**data, "preview_as": ann.email, "preview_dark": "on"}).content.decode()
    assert "Hi &lt;Ann&gt;" in text
    assert "profile.attributes.plan" in text, "a missing value is told"
    assert "is-dark" in text
    broken = marketer.post(url, form({"title": "{{ x"})).content.decode()
    assert "line 1" in broken
    assert marketer.get(url).status_code == 405


def test_the_list_costs_a_fixed_number_of_queries(marketer, django_assert_max_num_queries) -> None:
    for number in range(10):
        world.message(f"m{number}", "webpush")
    with django_assert_max_num_queries(6):
        text = marketer.get("/admin/delivery/message/").content.decode()
    assert "Web push" in text


def test_a_test_goes_through_the_outbox_and_consent_still_counts(marketer) -> None:
    ann = world.person(1, agrees=False)
    Identifier.objects.create(kind="email", value=ann.email, profile=ann)
    message = world.message(channel="webpush")
    url = reverse("admin:delivery_message_send_test", args=[message.pk])
    assert marketer.get(url).status_code == 200
    assert not Delivery.objects.exists(), "looking at the dialog sends nothing"
    marketer.post(url, {"person": ann.email, "channel": "webpush", "_form_submitted": "on"})
    delivery = Delivery.objects.get()
    assert (delivery.origin_type, delivery.profile_id, delivery.message_id) == ("test", ann.pk, message.pk)
    dispatch.run()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == ("suppressed", "no consent")


def test_a_test_to_nobody_is_refused(marketer) -> None:
    url = reverse("admin:delivery_message_send_test", args=[world.message(channel="webpush").pk])
    text = marketer.post(
        url, {"person": "nobody", "channel": "webpush", "_form_submitted": "on"}
    ).content.decode()
    assert "Nobody is known by this." in text
    assert not Delivery.objects.exists()


def test_deliveries_can_be_found_and_understood(marketer, memory) -> None:
    ann, ben = world.person(1, first_name="<b>Ann"), world.person(2, agrees=False)
    Identifier.objects.create(kind="email", value=ann.email, profile=ann)
    sent, stopped = world.queue(world.message(), [ann, ben])
    dispatch.run(NOW)
    changelist = "/admin/delivery/delivery/"
    text = marketer.get(changelist).content.decode()
    assert "&lt;b&gt;Ann" in text
    assert "no consent" in text
    assert "Ann2" not in marketer.get(changelist, {"q": ann.email}).content.decode()
    assert "no consent" not in marketer.get(changelist, {"state__exact": "sent"}).content.decode()
    assert marketer.get(changelist, {"channel": "memory"}).status_code == 200
    page = marketer.get(f"{changelist}{sent.pk}/change/").content.decode()
    assert "accepted" in page
    assert "Hello" in page
    page = marketer.get(f"{changelist}{stopped.pk}/change/").content.decode()
    assert "has not agreed" in page
    assert reverse("admin:crm_profile_change", args=[ben.pk]) in page


def test_deliveries_are_history(marketer) -> None:
    [delivery] = world.queue(world.message(), [world.person()])
    assert marketer.get("/admin/delivery/delivery/add/").status_code == 403
    assert (
        marketer.post(f"/admin/delivery/delivery/{delivery.pk}/delete/", {"post": "yes"}).status_code == 403
    )
    assert marketer.post(f"/admin/delivery/delivery/{delivery.pk}/change/", {}).status_code == 403


def test_who_may_only_look_can_only_look(client) -> None:
    viewer = User.objects.create_user("viewer", "", "pw", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_message", "view_delivery"]))
    client.force_login(viewer)
    message = world.message(channel="webpush")
    assert client.get(reverse("admin:delivery_message_change", args=[message.pk])).status_code == 200
    assert client.post(reverse("admin:delivery_message_preview"), form({"title": "x"})).status_code == 403
    assert client.post(reverse("admin:delivery_message_send_test", args=[message.pk])).status_code in (
        302,
        403,
    )
    assert not Delivery.objects.exists()
    assert client.get("/admin/delivery/delivery/").status_code == 200
    assert MessageContent.objects.count() == 1
