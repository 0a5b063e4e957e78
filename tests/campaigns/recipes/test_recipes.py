"""Every recipe can be used as it is: it installs, can be published, and speaks all its languages."""

import re

import pytest

from campaigns import recipes
from campaigns.flows.definition import check, parse, walk
from campaigns.models import Flow, Segment
from campaigns.recipes.shelf import LANGUAGES, Text, common
from crm.models import ComputedAttribute
from delivery import channels
from delivery.models import CouponPool, Message, MessageContent

SLUGS = [recipe.slug for recipe in recipes.all()]
PERSON = {"profile": {"id": 1, "first_name": "Maja"}, "coupon": {"code": "ABC-1"}, "computed": {}}
FACTS = {
    "name": "Haraz Mocha", "total": 40, "title": "Lesson 3", "destination": "Gdańsk", "price": 9, "old_price": 12,
    "currency": "EUR", "url": "https://shop.example/1", "items": [{"name": "Haraz Mocha"}],
}  # fmt: skip
EVENT = {"event": {"name": "x", "properties": FACTS}}
NOBODY = {"profile": {"id": 1}, "event": {"name": "x", "properties": {"total": 40}}}
ARABIC, POLISH = re.compile("[\u0600-\u06ff]"), re.compile("[ąćęłńóśźż]|[Tt]w[oó]j|dni")


@pytest.mark.django_db
@pytest.mark.parametrize("slug", SLUGS)
def test_a_recipe_installs_and_could_be_published_at_once(slug):
    flow = recipes.install(slug, by="ann")
    definition = parse(flow.draft)
    assert check(definition) == []
    assert flow.state == Flow.State.DRAFT
    sent = {step.config["message"] for step, _depth in walk(definition.steps) if step.kind == "message"}
    assert sent == set(Message.objects.values_list("slug", flat=True)), "every message is sent by some step"
    assert "$" not in str(flow.draft)
    for content in MessageContent.objects.all():
        compiled = channels.get(content.channel).compile(content.content)
        for data in ({**PERSON, **EVENT}, NOBODY):
            missing: list[str] = []
            filled = compiled.render(data, missing)
            assert missing == [], f"{content.locale}: no default for {missing}"
            body = getattr(filled, "body", "") or getattr(filled, "text", "")
            assert 0 < len(filled.title) <= 50, filled.title
            assert 0 < len(body) <= 120, body
            assert "$" not in filled.title + body
            if content.locale == "ar":
                assert ARABIC.search(filled.title)
                assert ARABIC.search(body)
        assert channels.get(content.channel).problems(content.content) == []


@pytest.mark.django_db
def test_a_second_use_stands_on_its_own_but_shares_what_is_the_same():
    first, second = recipes.install("daily-deal"), recipes.install("daily-deal")
    assert {first.slug, second.slug} == {"daily-deal", "daily-deal-2"}
    assert first.draft["trigger"]["segment"] != second.draft["trigger"]["segment"]
    assert ComputedAttribute.objects.count() == 1, "the same figure is computed once"
    assert Segment.objects.count() == Message.objects.count() == 2
    recipes.install("welcome")
    recipes.install("welcome")
    assert CouponPool.objects.count() == 1


@pytest.mark.django_db
def test_answers_land_in_the_flow_and_in_its_texts():
    own = CouponPool.objects.create(slug="mine", name="Mine", kind="fixed", code="MINE")
    answers = {"cart": "basket", "minimum": 75, "run_key": "basket_id", "percent": 25, "pool": own.slug}
    flow = recipes.install("abandoned-cart", options=answers, language="pl")
    assert flow.name == "Porzucony koszyk"
    assert flow.draft["trigger"] == {
        "kind": "event", "name": "basket", "where": [{"property": "total", "op": "gte", "value": 75}],
    }  # fmt: skip
    assert flow.draft["key"] == "properties.basket_id"
    texts = {
        content.locale: content.content["title"]
        for content in MessageContent.objects.filter(message__slug__endswith="discount", channel="webpush")
    }
    assert texts["en"].startswith("25% off")
    assert texts[""].startswith("25% rabatu"), (
        "who reads another language gets the language of the one who chose"
    )
    assert "٢٥٪" in texts["ar"]
    assert list(CouponPool.objects.all()) == [own]


def test_everything_is_said_in_every_language():
    for recipe in recipes.all():
        for words in (recipe.name, recipe.promise, *(each["name"] for each in recipe.segments.values())):
            assert set(words) == set(LANGUAGES)
            assert ARABIC.search(words["ar"])
            assert len(set(words.values())) == 3
        for text in recipe.messages.values():
            assert isinstance(text, Text)
            for before, after in zip(text.en, text.pl, strict=True):
                assert before != after
        assert set(recipe.options) <= set(recipes.OPTIONS)
    for table in common().values():
        assert all(set(words) == set(LANGUAGES) for words in table.values())


@pytest.mark.django_db
def test_needs_tell_what_is_there(django_assert_max_num_queries):
    from crm.models import Profile
    from tests.campaigns.recipes.shop import happened

    recipe = recipes.get("abandoned-cart")
    person = Profile.objects.create(external_id="ann")
    assert not any(need.met for need in recipes.needs(recipe))
    happened(person.pk, "cart_updated", cart_id="c1", total=50)
    met = {need.text: need.met for need in recipes.needs(recipe)}
    assert met["Event of a changed cart: cart_updated"]
    assert met["Property “total” of “cart_updated”"]
    assert not met["Event of a purchase: purchase"]
    known = recipes.have()
    with django_assert_max_num_queries(0):
        for each in recipes.all():
            recipes.needs(each, answers=dict.fromkeys(each.options, "x"), known=known, deep=False)
