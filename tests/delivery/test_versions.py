"""What messages said before: each save is kept, compared and brought back."""

import pytest
from django.core.cache import cache
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery import authoring, versions
from delivery.models import MessageContent, MessageVersion
from tests.delivery import world
from tests.delivery.test_admin import form, marketer  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.clear()


WORDS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "ar", "pl"])),
    st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    min_size=1,
    max_size=4,
)


def _save(name: str, words: dict[tuple[str, str], str], weights: dict[str, int]):
    told = [
        authoring.Words("memory", variant, locale, {"text": text})
        for (variant, locale), text in words.items()
    ]
    shares = [authoring.Variant(key, "", weight) for key, weight in weights.items()]
    return authoring.save("m", {"name": name}, told, shares)[0]


class TestVersions:
    @given(
        st.lists(
            st.tuples(st.text("xyz", min_size=1, max_size=3), WORDS, st.booleans()), min_size=2, max_size=5
        ),
        st.data(),
    )
    @QUICK
    def test_any_version_comes_back_as_it_was_and_nothing_is_lost(self, saves, data) -> None:
        MessageVersion.objects.all().delete()
        MessageContent.objects.all().delete()
        for name, words, split_ in saves:
            message = _save(name, words, {"a": 1, "b": 2} if split_ else {})
        kept = {each.number: each.state for each in message.versions.all()}
        message.refresh_from_db()
        assert sorted(kept)[-1] == message.version
        assert versions.state_of(message) == kept[message.version]
        number = data.draw(st.sampled_from(sorted(kept)))
        made = versions.restore(message.pk, number)
        message.refresh_from_db()
        assert versions.state_of(message) == kept[number]
        assert {each.number: each.state for each in message.versions.all() if each.number in kept} == kept
        assert (made is None) == (kept[number] == kept[max(kept)])
        message.delete()

    @given(st.text("ab \n", max_size=30), st.text("ab \n", max_size=30))
    @QUICK
    def test_a_comparison_holds_both_texts(self, before: str, after: str) -> None:
        pieces = versions.compared(before, after)
        assert "".join(text for kind, text in pieces if kind != "new") == before
        assert "".join(text for kind, text in pieces if kind != "gone") == after

    def test_a_page_shows_what_changed_and_brings_it_back(self, marketer) -> None:  # noqa: F811
        _save("Welcome", {("a", ""): "Hello <old>"}, {})
        message = _save("Welcome", {("a", ""): "Hello new"}, {})
        url = reverse("admin:delivery_message_versions", args=[message.pk])
        page = marketer.get(url).content.decode()
        assert "&lt;<" not in page
        assert "<ins>new</ins>" in page
        assert marketer.get(url, {"version": "99"}).status_code == 404
        assert marketer.post(url, {"version": "1"}).status_code == 302
        assert message.contents.get().content == {"text": "Hello <old>"}
        assert list(message.versions.values_list("number", "restored_from")) == [(3, 1), (2, None), (1, None)]

    def test_what_a_form_writes_down_and_a_program_leaves_out_is_no_change(self, marketer) -> None:  # noqa: F811
        message = world.message(channel="webpush", content={"title": "Hi"})
        url = reverse("admin:delivery_message_change", args=[message.pk])
        same = {"id": str(message.contents.get().pk), "message": str(message.pk), "title": "Hey"}
        assert marketer.post(url, form(same, saved=1, seen_version="0")).status_code == 302
        assert message.contents.get().content == {"title": "Hey", "urgency": "normal"}
        first, last = message.versions.order_by("number")
        told = [change for change in versions.changes(first.state, last.state) if change.place != "Message"]
        assert [(change.before, change.after) for change in told] == [("Hi", "Hey")]
        MessageContent.objects.update(content={"title": "Hey"})
        message.refresh_from_db()
        assert versions.keep(message) is None

    def test_who_saved_meanwhile_is_shown_and_nothing_is_lost(self, marketer) -> None:  # noqa: F811
        message = world.message(channel="webpush", content={"title": "Old"})
        url = reverse("admin:delivery_message_change", args=[message.pk])
        row = message.contents.get()
        same = {"id": str(row.pk), "message": str(message.pk)}
        first = form({**same, "title": "Theirs"}, saved=1, seen_version="0")
        assert marketer.post(url, first).status_code == 302
        mine = form({**same, "title": "Mine"}, saved=1, seen_version="0")
        answer = marketer.post(url, mine)
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "<ins>Theirs</ins>" in page
        assert 'value="Mine"' in page
        row.refresh_from_db()
        assert row.content["title"] == "Theirs"
        MessageContent.objects.filter(pk=row.pk).delete()  # even if the other one removed the text
        seen = str(MessageVersion.objects.filter(message=message).count())
        assert marketer.post(url, {**mine, "seen_version": seen}).status_code == 302
        assert message.contents.get().content["title"] == "Mine"
        titles = [v.state["words"][0]["content"]["title"] for v in message.versions.order_by("number")]
        assert titles == ["Old", "Theirs", "Mine"]
