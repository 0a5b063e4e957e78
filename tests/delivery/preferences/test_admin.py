"""The preference page's looks in the admin, its previews, and opening somebody's page."""

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from crm import identity
from crm.models import AuditEntry, ConsentChange, Topic
from delivery.models import Message, PreferencePage

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
LOOKS = {"name": "Kahwa", "website": "", "logo_url": "", "accent": "#0b6e4f"}


@pytest.fixture
def url(admin_client):
    answer = admin_client.get(reverse("admin:delivery_preferencepage_changelist"))
    assert answer.status_code == 302
    return answer["Location"]


def test_looks_and_texts_are_kept(admin_client, url):
    assert admin_client.get(url).status_code == 200
    data = LOOKS | {"title_en": "Hello", "intro_ar": "مرحبا", "logo_file": SimpleUploadedFile("a.png", PNG)}
    assert admin_client.post(url, data).status_code == 302
    looks = PreferencePage.objects.get()
    assert (looks.texts, looks.logo_type) == (
        {"en": {"title": "Hello"}, "ar": {"intro": "مرحبا"}},
        "image/png",
    )
    admin_client.post(url, LOOKS)
    looks.refresh_from_db()
    assert (bytes(looks.logo), looks.texts) == (PNG, {})
    admin_client.post(url, LOOKS | {"no_logo": "on"})
    looks.refresh_from_db()
    assert looks.logo is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"accent": "#ffee00"},
        {"accent": "red"},
        {"accent": "#12345;"},
        {"logo_url": "http://x.example/a.png"},
        {"logo_file": SimpleUploadedFile("a.png", b"<svg onload=alert(1)>")},
        {"logo_file": SimpleUploadedFile("a.png", PNG * 20_000)},
    ],
)
def test_what_people_could_not_read_or_trust_is_refused(admin_client, url, wrong):
    assert admin_client.post(url, LOOKS | wrong).status_code == 200
    assert PreferencePage.objects.get().name == ""


def test_a_preview_for_each_language(admin_client, url):
    Topic.objects.create(slug="news", name="News", translations={"ar": {"name": "الأخبار"}})
    for language, word in (("en", "News"), ("ar", "الأخبار"), ("pl", "Zapisz moje preferencje")):
        answer = admin_client.get(reverse("admin:delivery_preferencepage_preview", args=[language]))
        assert word in answer.content.decode()
        assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert admin_client.get(reverse("admin:delivery_preferencepage_preview", args=["xx"])).status_code == 404
    assert not ConsentChange.objects.exists()


def test_opening_a_persons_page_needs_the_right_and_is_recorded(client):
    [ann] = identity.resolve([identity.Reference(email="ann@example.com")])
    user = User.objects.create_user("u", is_staff=True)
    client.force_login(user)
    url = reverse("admin:delivery_preferencepage_open", args=[ann])
    assert client.post(url).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_preference"))
    assert client.get(url).status_code == 405
    answer = client.post(url)
    assert "/p/" in answer["Location"]
    assert AuditEntry.objects.get(action="preferences.opened").object_id == str(ann)
    assert client.get(answer["Location"]).status_code == 200


def test_messages_offer_the_topics_there_are(admin_client):
    Topic.objects.create(slug="news", name="The news")
    message = Message.objects.create(slug="old", name="Old", topic="gone")
    html = admin_client.get(reverse("admin:delivery_message_change", args=[message.pk])).content.decode()
    assert '<option value="news">The news</option>' in html
    assert '<option value="gone" selected>gone</option>' in html
