"""What messages are filled in with, which variant people get, and what their authors are told."""

import uuid
from collections import Counter

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.models import Identifier, Product
from delivery import channels, content, dispatch, outbox, variants
from delivery.content import advice, liquid, snippets
from delivery.models import (
    BrandKit,
    Delivery,
    MessageContent,
    MessageVariant,
    Snippet,
    SnippetText,
)
from tests.delivery import world
from tests.delivery.test_admin import form, marketer  # noqa: F401 - a fixture
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.clear()


def render(source: str, data: dict | None = None, locale: str = "", html: bool = False) -> str:
    return liquid.render(liquid.parse(source, html), data or {}, None, locale)


def split(message, weights: dict[str, int], channel: str = "memory") -> None:
    for key, weight in weights.items():
        MessageVariant.objects.create(message=message, key=key, weight=weight)
        MessageContent.objects.get_or_create(
            message=message, channel=channel, variant=key, defaults={"content": {"text": f"variant {key}"}}
        )


class TestFilters:
    @pytest.mark.parametrize(
        ("locale", "language", "text"),
        [
            ("", "pl", "€1,234.50 March 3, 2026 Tuesday"),
            ("pl", "pl", "1\xa0234,50\xa0€ 3 marca 2026 wtorek"),
            ("de", "de-AT", "€\xa01.234,50 3. März 2026 Dienstag"),
        ],
    )
    def test_amounts_and_dates_read_as_the_text_does(self, locale: str, language: str, text: str) -> None:
        person = {"language": language, "timezone": "Asia/Riyadh"}  # where it is the next day already
        data = {"profile": person, "at": "2026-03-02T22:00:00+00:00", "sum": 1234.5}
        source = '{{ sum | money: "EUR" }} {{ at | date: "long" }} {{ at | date: "%A" }}'
        assert render(source, data, locale) == text

    @pytest.mark.parametrize(
        "source", ["{{ 'x' | money }}", "{{ 1 | money: 'EURO' }}", "{{ 'now' | date: 'qqzz' }}"]
    )
    def test_what_can_not_be_written_fails_for_that_person(self, source: str) -> None:
        with pytest.raises(liquid.TemplateError):
            render(source)

    @pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", None, 7])
    def test_a_bad_zone_or_language_hurts_nobody(self, zone) -> None:
        data = {"profile": {"timezone": zone, "language": zone}, "at": "2026-03-02T12:00:00Z"}
        assert "2026" in render('{{ at | date: "long" }}', data, "xx-yy")

    def test_markup_is_escaped_where_the_field_is_markup(self) -> None:
        assert render("<b>{{ x }}</b>", {"x": "<i>&"}, html=True) == "<b>&lt;i&gt;&amp;</b>"
        assert render("<b>{{ x }}</b>", {"x": "<i>&"}) == "<b><i>&</b>"


class TestLimits:
    """What `test_content` shows of plain texts holds of markup and of what snippets add, too."""

    def test_time(self, monkeypatch) -> None:
        source = "{% for i in (1..500) %}{{ profile.name }}{% endfor %}"
        assert len(render(source, {"profile": {"name": "Ann"}}, html=True)) == 1500
        monkeypatch.setattr(liquid, "MAX_SECONDS", 0.0)
        with pytest.raises(liquid.TemplateError, match="too long"):
            render(source, {"profile": {"name": "Ann"}}, html=True)

    @pytest.mark.parametrize(
        "source",
        [
            "{% for i in (1..1001) %}x{% endfor %}",
            "{% for i in (1..900) %}" + "x" * 600 + "{% endfor %}",
            "{{ snippets.long }}" * 40,
            "{% for i in (1..40) %}{% render 'long' %}{% endfor %}",
            "{% for i in (1..40) %}{% render 'loop' %}{% endfor %}",
        ],
    )
    def test_size_and_loops(self, source: str) -> None:
        known = snippets.within(
            {"long": {"": "x" * 15_900}, "loop": {"": "{% for i in (1..40) %}y{% endfor %}"}}, ""
        )
        with pytest.raises(liquid.TemplateError):
            render(source, {"snippets": known}, html=True)

    def test_a_long_email_is_fine(self) -> None:
        assert len(render("x" * 150_000 + "{{ a }}", html=True)) == 150_000
        with pytest.raises(liquid.TemplateError):
            render("x" * 11_000)


class TestSnippets:
    def test_they_are_filled_in_by_both_ways_of_asking(self) -> None:
        known = snippets.within({"foot": {"": "Bye {{ profile.name }}", "ar": "وداعا"}}, "pl")
        data = {"profile": {"name": "<Ann>"}, "snippets": known}
        for source in ("{{ snippets.foot }}", "{% render 'foot' %}"):
            assert render(source, data) == "Bye <Ann>"
            assert render(source, data, html=True) == "Bye &lt;Ann&gt;"
        arabic = snippets.within({"foot": {"": "Bye", "ar": "وداعا"}}, "ar-SA")
        assert render("{{ snippets.foot }}", {"snippets": arabic}) == "وداعا"

    @pytest.mark.parametrize("source", ["{{ snippets.a }}", "{% render 'a' %}"])
    @pytest.mark.parametrize("inner", ["{{ snippets.a }}", "{% render 'a' %}", "{% render 'b' %}"])
    def test_none_goes_round_in_circles_or_holds_another(self, source: str, inner: str) -> None:
        known = snippets.within({"a": {"": "in:" + inner}, "b": {"": "LEAK"}}, "")
        try:
            text = render(source, {"snippets": known})
        except liquid.TemplateError:
            return
        assert text in ("in:", "in:in:")

    def test_messages_may_only_name_those_there_are(self) -> None:
        channel = channels.get("memory")
        [problem] = channel.problems({"text": "{{ snippets.foot }}"})
        assert problem.field == "text"
        SnippetText.objects.create(snippet=Snippet.objects.create(slug="foot", name="Foot"), text="Bye")
        assert channel.problems({"text": "{{ snippets.foot }}"}) == []

    def test_one_that_is_used_stays(self, marketer) -> None:  # noqa: F811
        foot = Snippet.objects.create(slug="foot", name="Foot")
        SnippetText.objects.create(snippet=foot, text="Bye")
        message = world.message(content={"text": "{% render 'foot' %}"})
        delete = reverse("admin:delivery_snippet_delete", args=[foot.pk])
        assert marketer.post(delete, {"post": "yes"}).status_code == 403
        marketer.post(
            "/admin/delivery/snippet/",
            {"action": "delete_selected", "_selected_action": [foot.pk], "post": "y"},
        )
        page = marketer.get(reverse("admin:delivery_snippet_change", args=[foot.pk])).content.decode()
        assert reverse("admin:delivery_message_change", args=[message.pk]) in page
        message.contents.all().delete()
        assert marketer.post(delete, {"post": "yes"}).status_code == 302
        assert not Snippet.objects.exists()


class TestVariants:
    @given(
        st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100), min_size=2).filter(
            lambda w: sum(w.values())
        )
    )
    @QUICK
    def test_people_are_divided_by_weight_and_stay_where_they_are(self, weights: dict[str, int]) -> None:
        size, message = 4000, 17
        got = [variants.chosen(message, number, weights) for number in range(size)]
        assert got == [variants.chosen(message, number, weights) for number in range(size)]
        counts, total = Counter(got), sum(weights.values())
        assert {key for key in counts if not weights[key]} == set()
        expected = {key: size * weight / total for key, weight in weights.items() if weight}
        chi_square = sum((counts[key] - wanted) ** 2 / wanted for key, wanted in expected.items())
        assert chi_square < 21.1  # 3 degrees of freedom: one in ten thousand is larger

    def test_messages_divide_people_independently(self) -> None:
        half = {"a": 1, "b": 1}
        same = sum(variants.chosen(1, n, half) == variants.chosen(2, n, half) for n in range(4000))
        assert 1850 < same < 2150

    def test_the_outbox_gives_what_the_hash_says_in_one_statement(self, django_assert_num_queries) -> None:
        message, plain = world.message("split"), world.message("plain")
        weights = {"a": 30, "b": 50, "c": 20}
        split(message, weights)
        people = [world.person(number, agrees=False) for number in range(60)]
        wanted = [world.request(str(uuid.uuid4()), message, person) for person in people]
        with django_assert_num_queries(1):
            outbox.queue([*wanted, world.request("p", plain, people[0])], NOW)
        for delivery in Delivery.objects.filter(message=message):
            assert delivery.variant == variants.chosen(message.pk, delivery.profile_id, weights)
        assert len(set(Delivery.objects.filter(message=message).values_list("variant", flat=True))) == 3
        assert Delivery.objects.get(message=plain).variant == "a"

    def test_only_variants_with_words_for_the_channel_are_given(self) -> None:
        message = world.message()
        split(message, {"a": 50, "b": 50})
        MessageContent.objects.create(message=message, channel="webpush", content={"title": "Only a"})
        people = [world.person(number, agrees=False) for number in range(20)]
        outbox.queue([world.request(f"w{p.pk}", message, p, "webpush") for p in people], NOW)
        assert set(Delivery.objects.values_list("variant", flat=True)) == {"a"}

    def test_what_was_asked_for_wins_and_is_sent(self, memory) -> None:
        message, ann = world.message(), world.person()
        split(message, {"a": 100, "b": 0})
        outbox.queue([world.request("x", message, ann, variant="b")], NOW)
        dispatch.run(NOW)
        assert memory.sent[0].payload == "variant b"


class TestOffers:
    URL = "/admin/delivery/message/fill-ins/"

    def test_they_fit_what_was_typed(self, marketer) -> None:  # noqa: F811
        world.person(attributes={"plan": "gold", "<b>": 1})
        Snippet.objects.create(slug="foot", name="Foot")
        Product.objects.create(sku="A-1", name="Lamp")

        def offered(**asked: str) -> list[str]:
            return [each["insert"] for each in marketer.get(self.URL, asked).json()["offers"]]

        assert offered(q="profile.first") == ["profile.first_name"]
        assert "profile.attributes.plan" in offered(q="plan")
        assert offered(q="foot") == ["snippets.foot"]
        assert 'products["A-1"].title' in offered(q='products["a')
        assert offered(q="mon", kind="filter")[0] == 'money: "EUR"'

    def test_every_filter_that_is_offered_works(self, marketer) -> None:  # noqa: F811
        for each in marketer.get(self.URL, {"kind": "filter"}).json()["offers"]:
            liquid.parse("{{ x | " + each["insert"] + " }}")

    @pytest.mark.parametrize(
        ("permission", "status"),
        [("view_profile", 403), ("view_message", 403), ("change_message", 200), ("add_message", 200)],
    )
    def test_only_writers_may_ask(self, client, permission: str, status: int) -> None:
        user = User.objects.create_user("someone", "", "pw", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename=permission))
        client.force_login(user)
        assert client.get(self.URL).status_code == status
        client.logout()
        assert client.get(self.URL).status_code == 302


class TestAdvice:
    def test_what_people_lack_is_told_in_percent(self) -> None:
        for number in range(10):
            world.person(number, first_name="Ann" if number < 7 else "")
        content_ = {"text": "{{ profile.first_name }} {{ profile.email }} {{ event.x }}"}
        compiled = channels.get("memory").compile(content_)
        told = advice.lacking(compiled, content_, "", content.gather([], []))
        assert told == {"profile.first_name": 0.3}

    @pytest.mark.parametrize(
        ("field", "text", "locale", "told"),
        [
            ("title", "Hello مرحبا", "ar", "left to right"),
            ("title", "مرحبا Hello", "ar", ""),
            ("title", "Hello", "ar", "does not look like"),
            ("title", "\U0001fae9", "en", "show a box"),
            ("title", "x" * 50, "", "often only 40"),
            ("url", "https://example.com/x", "", "placeholder"),
            ("url", "http://shop.pl/x", "", "https"),
            ("url", "https://shop.pl/x", "", ""),
        ],
    )
    def test_texts_and_links(self, field: str, text: str, locale: str, told: str) -> None:
        config = channels.get("webpush").Config
        notes = [note.message for note in advice.notes({field: text}, config, locale, {"title": 40})]
        assert (told in " ".join(notes)) if told else notes == []


LEAST = {"subject": "Hi {{ profile.nick }}", "title": "Hi {{ profile.nick }}", "text": "Hi", "body": "Hi"}


@pytest.mark.parametrize("kind", [kind for kind, each in channels.everything().items() if each.listed])
def test_every_channel_is_previewed_while_it_is_being_written(marketer, kind: str) -> None:  # noqa: F811
    world.person(1, language="ar", phone="+48600100200")
    url, prefix = reverse("admin:delivery_message_preview"), f"contents-{kind}-0"
    for fields in ({}, LEAST, dict.fromkeys(LEAST, "{{ x")):
        posted = {f"{prefix}-{name}": value for name, value in fields.items()}
        for more in ({}, {"preview_desktop": "on", "preview_dark": "on", "preview_move": "next"}):
            answer = marketer.post(url, {"preview_form": prefix, f"{prefix}-locale": "ar", **posted, **more})
            assert answer.status_code == 200
            assert f'data-notes="{prefix}"' in answer.content.decode()


def test_a_test_goes_to_the_tester_marked(marketer, memory, monkeypatch) -> None:  # noqa: F811
    ann = world.person(1, agrees=False)
    Identifier.objects.create(kind="email", value=ann.email, profile=ann)
    message = world.message(content={"text": "Hi {{ profile.first_name }}"})
    monkeypatch.setattr(type(memory), "listed", True)
    monkeypatch.setattr("delivery.admin.trying.BY_EMAIL", ("memory",))
    url = reverse("admin:delivery_message_send_test", args=[message.pk])
    wanted = {"person": ann.email, "channel": "memory", "address": "nobody", "_form_submitted": "on"}
    marketer.post(url, wanted)
    assert not Delivery.objects.exists(), "that is no address"
    marketer.post(url, wanted | {"address": "boss@example.com"})
    dispatch.run()
    [parcel] = memory.sent
    assert (parcel.address.value, parcel.payload) == ("boss@example.com", "[Test] Hi Ann1")
    assert not world.events("message_sent"), "the person whose data fills it got nothing"


def test_the_brand_is_one_and_readable(marketer) -> None:  # noqa: F811
    url = "/admin/delivery/brandkit/1/change/"
    fields = {
        "company_name": "Acme", "website": "https://acme.example", "logo_width": "160", "accent": "#123456",
        "text_colour": "#111111", "background": "#eeeeee", "surface": "#ffffff", "heading_font": "system",
        "body_font": "arial", "social_x": "https://x.com/acme",
    }  # fmt: skip
    assert "hard to read" in marketer.post(url, fields | {"text_colour": "#eeeeee"}).content.decode()
    assert marketer.post(url, fields | {"social_x": "javascript:alert(1)"}).status_code == 200
    assert not BrandKit.objects.exists()
    assert marketer.post(url, fields).status_code == 302
    brand = content.brand.current()
    assert (brand.name, brand.social, brand.sender_name) == ("Acme", {"x": "https://x.com/acme"}, "Acme")
