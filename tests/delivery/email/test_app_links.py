"""Addresses of apps in emails: those that the settings of links name, and nothing that a program would run."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery import channels
from delivery.content import ContentError
from delivery.email import links
from delivery.email.compiling import CompiledEmail
from delivery.links import apps, rewriting
from delivery.models import LinkSettings
from tests.delivery.email.test_channel import BRAND, LINKS

PAGE = "/admin/delivery/linksettings/1/change/"


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["kahwa://cart?id=1", "KAHWA://order/{{ profile.id }}"])
def test_the_account_says_which_apps_there_are(client: Any, settings: Any, address: str) -> None:
    content = {"subject": "Hi", "html": f'<a href="{address}">Open</a>'}
    [problem] = channels.get("email").problems(content)
    assert "settings of links" in problem.message
    client.force_login(User.objects.create_superuser("boss", "", "pw"))
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}
    for line in (
        "javascript://",
        "DATA://",
        "intent://",
        "kahwa:",
        "://",
        "ka hwa://",
        "kahwa://cart",
        "https://",
    ):
        assert client.post(PAGE, {"untouched_hosts": line}).status_code == 200, line
    assert client.post(PAGE, {"untouched_hosts": "Kahwa://\napp.kahwa.example"}).status_code == 302
    assert LinkSettings.objects.get().untouched_hosts == ["kahwa://", "app.kahwa.example"]
    assert channels.get("email").problems(content) == []
    assert rewriting.current().untouched, "links of sites that open apps stay, too"


@pytest.mark.django_db
def test_the_apps_are_asked_for_once_for_everybody() -> None:
    LinkSettings(untouched_hosts=["kahwa://"]).save()
    content = {"subject": "Hi", "html": '<a href="{{ event.open }}">Open</a> {{ unsubscribe_url }}'}
    email = CompiledEmail(content, BRAND)
    with CaptureQueriesContext(connection) as captured:
        for number in range(20):
            email.render({**LINKS, "event": {"open": f"kahwa://order/{number}"}})
    assert len([each for each in captured if "linksettings" in each["sql"]]) == 1
    for wrong in (
        "other://order",
        "javascript://x%0aalert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "kahwa:x",
    ):
        with pytest.raises(ContentError):
            email.render({**LINKS, "event": {"open": wrong}})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(apps.NEVER - {"http", "https", "mailto"})), st.text(max_size=8), st.booleans())
def test_nothing_that_a_program_would_run_is_an_app(scheme: str, rest: str, upper: bool) -> None:
    assert not apps.is_app(f"{scheme}://")
    word = scheme.upper() if upper else scheme
    assert not links.is_fine(f"{word}://{rest}", lambda: frozenset({"kahwa"}))
