"""Products in messages: those of the event, looked up, recommended."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm.models import Product, ProductInterest
from delivery import content
from delivery.content import liquid
from delivery.models import BrandKit, Snippet, SnippetText
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.clear()


class TestProducts:
    def test_a_batch_is_filled_in_by_a_fixed_number_of_queries(self) -> None:
        for number in range(30):
            Product.objects.create(
                sku=f"s{number}", name=f"Shoe {number}", price=10 + number, currency="EUR", category="shoes"
            )
        BrandKit(company_name="Acme").save()
        SnippetText.objects.create(
            snippet=Snippet.objects.create(slug="foot", name="Foot"), text="{{ brand.name }}"
        )
        text = (
            "{% for p in event.products %}{{ p.title }} x{{ p.quantity }}"
            " {{ p.price | money: p.currency }};{% endfor %}"
            '{{ products["s7"].title }}|{{ recommended[0].title }}|{{ snippets.foot }}'
        )
        people = [world.person(number) for number in range(25)]
        for person in people:
            ProductInterest.objects.create(sku="s3", profile=person, viewed_at=NOW)
        counts = []
        for size in (3, 25):
            cache.clear()
            wanted = [
                content.Sample(
                    person.pk,
                    {"event": {"properties": {"items": [{"product_id": f"s{n}", "quantity": 2}]}}},
                    pk=n,
                )
                for n, person in enumerate(people[:size])
            ]
            with CaptureQueriesContext(connection) as captured:
                gathered = content.gather(wanted, [{"text": text}], NOW)
            counts.append(len(captured))
            said = [
                liquid.render(liquid.parse(text), {**each.context, **gathered.data(each)}) for each in wanted
            ]
            assert said[2] == "Shoe 2 x2 €12.00;Shoe 7|Shoe 3|Acme"
        assert counts[0] == counts[1] <= 7

    def test_nothing_is_looked_up_that_no_text_asks_for(self, django_assert_num_queries) -> None:
        with django_assert_num_queries(0):
            content.gather(
                [content.Sample(1, {"event": {"properties": {"sku": "a"}}})], [{"text": "Hi"}], NOW
            )

    def test_people_get_their_favourite_category_without_what_they_bought(self) -> None:
        for sku, category in (("shoe1", "shoes"), ("shoe2", "shoes"), ("hat1", "hats"), ("hat2", "hats")):
            Product.objects.create(sku=sku, name=sku, category=category)
        ann, ben, cat = (world.person(number) for number in range(3))
        for sku, person, bought in (
            ("shoe1", ann, True), ("shoe2", ann, False), ("hat1", ann, False),
            ("hat1", ben, False), ("hat2", ben, False),
        ):  # fmt: skip
            at = NOW - timedelta(days=1)
            ProductInterest.objects.create(
                sku=sku, profile=person, viewed_at=at, bought_at=at if bought else None
            )
        found = content.products.recommended({ann.pk, ben.pk, cat.pk}, NOW)
        assert found[ann.pk][0] == "shoe2"
        assert "shoe1" not in found[ann.pk]
        assert found[ben.pk][0].startswith("hat")
        assert found[cat.pk], "who cares for nothing yet gets the best sellers"

    def test_a_product_that_left_the_catalogue_is_told_as_the_event_has_it(self) -> None:
        event = {"properties": {"items": [{"sku": "old", "title": "Lamp", "price": 5}]}}
        own = content.Sample(1, {"event": event})
        gathered = content.gather([own], [{"text": "{{ event.products }}"}], NOW)
        assert gathered.data(own)["event"]["products"] == [{"sku": "old", "title": "Lamp", "price": 5}]
