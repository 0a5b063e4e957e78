"""What marketers write: checked when saved, filled in for each person, harmless whatever it says."""

import pytest
from django.core import signing
from hypothesis import given
from hypothesis import strategies as st

from delivery import channels, content, tokens
from delivery.channels.webpush import WebPushContent
from delivery.content import ContentError, liquid, locales

ANN = {"profile": {"id": 1, "first_name": "Ann", "attributes": {"plan": "gold", "tags": ["a", "b"]}}}


def render(source: str, data: dict | None = None, missing: list[str] | None = None) -> str:
    return liquid.render(liquid.parse(source), ANN if data is None else data, missing)


class TestLiquid:
    @pytest.mark.parametrize(
        ("source", "text"),
        [
            ("Hi {{ profile.first_name }}", "Hi Ann"),
            ('Hi {{ profile.nickname | default: "there" }}', "Hi there"),
            ("{{ profile.attributes.plan | upcase }}", "GOLD"),
            ("{% for tag in profile.attributes.tags %}{{ tag }};{% endfor %}", "a;b;"),
            ("{% if profile.attributes.plan == 'gold' %}G{% else %}S{% endif %}", "G"),
            ("{{ event.properties.total }}", ""),
        ],
    )
    def test_it_fills_in(self, source: str, text: str) -> None:
        assert render(source) == text

    def test_names_without_a_value_are_told(self) -> None:
        missing: list[str] = []
        render(
            '{{ profile.nickname }} {{ profile.x | default: "y" }} {{ event.properties.total }}',
            missing=missing,
        )
        assert missing == ["profile.nickname", "event"]

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            ("{{ a", 1),
            ("one\ntwo {{ a | nope }}", 2),
            ("one\n{% if a %}\nthree", 3),
            ("one\n\n{% endif %}", 3),
            ("{% include 'secrets' %}", 1),
            ("{% render secrets %}{% endrender %}", 1),
        ],
    )
    def test_mistakes_are_found_when_saving_with_their_line(self, source: str, line: int) -> None:
        with pytest.raises(liquid.TemplateError) as caught:
            liquid.parse(source)
        assert caught.value.line == line
        assert str(caught.value).startswith(f"line {line}: ")

    @pytest.mark.parametrize(
        "source",
        [
            "{% for i in (1..100000000) %}x{% endfor %}",
            "{% for i in (1..1000) %}{% for j in (1..1000) %}{{ profile.id }}{% endfor %}{% endfor %}",
            '{{ (1..100000000) | join: "-" }}',
            "{% assign x = 9 %}{% for i in (1..60) %}{% assign x = x | times: x %}{% endfor %}{{ x }}",
            '{{ "aaaaaaaaaa"' + ' | replace: "a", "aaaaaaaaaa"' * 12 + " }}",
            "{% assign s = 'x' %}{% for i in (1..60) %}{% assign s = s | append: s %}{% endfor %}",
            "{% for i in (1..999) %}" + "x" * 100 + "{% endfor %}",
            "{% for i in (1..999) %}" + "{% if 1 == 2 %}{% endif %}" * 350 + "{% endfor %}",
            "{% tablerow i in (1..999) %}" + "{% if 1 == 2 %}{% endif %}" * 350 + "{% endtablerow %}",
            "{{ '" + "ab," * 3000 + "' | split: ',' | uniq | size }}",
        ],
    )
    def test_nothing_grows_without_limit(self, source: str) -> None:
        with pytest.raises(liquid.TemplateError):
            render(source)

    def test_there_is_no_way_to_objects(self) -> None:
        for name in (
            "profile.__class__",
            "profile.items",
            "profile.attributes.tags.__len__",
            "settings",
            "request",
        ):
            assert render("{{ " + name + " }}") == ""

    def test_a_person_in_the_data_is_text_not_template(self) -> None:
        assert (
            render("{{ profile.first_name }}", {"profile": {"first_name": "{{ 7 | times: 6 }}"}})
            == "{{ 7 | times: 6 }}"
        )

    @given(st.text(max_size=60))
    def test_any_text_renders_or_is_named_as_wrong(self, source: str) -> None:
        try:
            text = render(source)
        except liquid.TemplateError:
            return
        assert "\x00" not in text


class TestContent:
    def test_links_with_variables_are_checked_when_filled_in(self) -> None:
        compiled = content.Compiled(WebPushContent, {"title": "x", "url": "{{ event.url }}"})
        assert compiled.render({"event": {"url": "https://shop.example/a"}}).url == "https://shop.example/a"
        assert compiled.render({"event": {"url": "/cart"}}).url == "/cart"
        assert compiled.render({}).url == ""
        for bad in ("javascript:alert(1)", "//evil.example/x", "data:text/html,x", "shop.example", "https:///x",
                    "java\nscript:alert(1)", "/\\evil.example", "https://a b"):  # fmt: skip
            with pytest.raises(ContentError):
                compiled.render({"event": {"url": bad}})

    @pytest.mark.parametrize("field", ["url", "icon", "image", "badge"])
    def test_links_without_variables_are_checked_when_saving(self, field: str) -> None:
        [problem] = channels.get("webpush").problems({"title": "x", field: "javascript:alert(1)"})
        assert problem.field == field

    def test_links_of_buttons_too(self) -> None:
        [problem] = channels.get("webpush").problems(
            {"title": "x", "actions": [{"title": "a", "url": "javascript:alert(1)"}]}
        )
        assert problem.field == "actions"

    def test_every_wrong_field_is_named_at_once(self) -> None:
        found = channels.get("webpush").problems({"title": "{{", "body": "{% x %}", "url": "nowhere"})
        assert {problem.field for problem in found} == {"title", "body", "url"}

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({}, "title"),
            ({"title": ""}, "title"),
            ({"title": "x", "urgency": "now"}, "urgency"),
            ({"title": "x", "ttl_hours": -1}, "ttl_hours"),
            ({"title": "x", "actions": [{"title": "a"}] * 3}, "actions"),
        ],
    )
    def test_shape(self, wrong: dict, field: str) -> None:
        assert field in {problem.field for problem in channels.get("webpush").problems(wrong)}

    def test_a_title_that_comes_out_empty_is_an_error_for_that_person(self) -> None:
        compiled = content.Compiled(WebPushContent, {"title": "{{ profile.nickname }}"})
        with pytest.raises(ContentError) as caught:
            compiled.render(ANN)
        assert caught.value.field == "title"

    def test_a_text_that_can_never_fit_is_told_when_saving(self) -> None:
        assert channels.get("webpush").problems({"title": "x", "body": "y" * 3600}) == []
        [problem] = channels.get("webpush").problems({"title": "x", "body": "y" * 4000})
        assert problem.field == "body"

    def test_one_persons_text_does_not_leak_into_anothers(self) -> None:
        compiled = content.Compiled(
            WebPushContent,
            {"title": "{{ profile.first_name }}", "actions": [{"title": "{{ profile.first_name }}"}]},
        )
        first = compiled.render({"profile": {"first_name": "Ann"}})
        second = compiled.render({"profile": {"first_name": "Ben"}})
        assert (first.title, first.actions[0].title) == ("Ann", "Ann")
        assert (second.title, second.actions[0].title) == ("Ben", "Ben")


class TestLocales:
    @pytest.mark.parametrize(
        ("available", "language", "best"),
        [
            (["", "ar", "ar-SA"], "ar-SA", "ar-SA"),
            (["", "ar"], "ar-SA", "ar"),
            (["", "ar"], "AR_sa", "ar"),
            (["", "pl"], "de", ""),
            (["", "pl"], None, ""),
            (["pl"], "de", None),
            (["zh-Hant"], "zh-Hant-TW", "zh-Hant"),
            ([], "de", None),
        ],
    )
    def test_best(self, available: list[str], language: str | None, best: str | None) -> None:
        assert locales.best(available, language) == best


class TestTokens:
    @given(st.integers(1, 2**63 - 1))
    def test_round_trip(self, number: int) -> None:
        token = tokens.make(number)
        assert tokens.read(token) == number
        assert len(token) < 60
        assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()

    @pytest.mark.parametrize("forged", ["", ".", "5", "5.", "x.y.z", "5." + "A" * 43, "\x00", "é.é"])
    def test_forgeries(self, forged: str) -> None:
        with pytest.raises(tokens.BadToken):
            tokens.read(forged)

    def test_another_number_needs_another_signature(self) -> None:
        value, signature = tokens.make(5).split(".")
        with pytest.raises(tokens.BadToken):
            tokens.read(f"{signing.b62_encode(6)}.{signature}")
        with pytest.raises(tokens.BadToken):
            tokens.read(f"-{value}.{signature}")
