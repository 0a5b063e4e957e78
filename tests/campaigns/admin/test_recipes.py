"""The gallery of flows to begin with: found, read, filled in, used."""

import pytest
from django.urls import reverse

from campaigns import recipes
from campaigns.models import Flow
from delivery.models import CouponPool, Message
from tests.campaigns.admin.conftest import client_with

GALLERY = "admin:campaigns_flow_recipes"
FLOW = ("campaigns.view_flow", "campaigns.add_flow", "campaigns.change_flow")
ALL = (*FLOW, "campaigns.add_segment", "delivery.add_message", "delivery.add_couponpool")


def page(slug: str) -> str:
    return reverse("admin:campaigns_flow_recipe", args=[slug])


def answers(slug: str, **given: object) -> dict[str, object]:
    return {**recipes.proposed(recipes.get(slug)), "language": "en", **given}


def test_the_gallery_shows_every_recipe_and_finds_some(viewer, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        shown = viewer.get(reverse(GALLERY)).content.decode()
    assert all(f'data-testid="recipe-{recipe.slug}"' in shown for recipe in recipes.all())
    found = viewer.get(reverse(GALLERY), {"q": "cart", "purpose": "sell"}).content.decode()
    assert "recipe-abandoned-cart" in found
    assert "recipe-birthday" not in found
    assert "Nothing fits" in viewer.get(reverse(GALLERY), {"q": "zebra"}).content.decode()


def test_every_recipe_has_a_page_with_its_steps_and_messages(viewer):
    for recipe in recipes.all():
        shown = viewer.get(page(recipe.slug)).content.decode()
        for language in ("en", "ar", "pl"):
            assert f'data-testid="recipe-messages-{language}"' in shown
        assert "use-recipe" not in shown, "who may not add flows is offered no button"
        assert "$" not in shown.split('data-testid="recipe-steps"')[1].split('id="recipe-needs"')[0]
    assert viewer.get(page("nothing")).status_code == 404


def test_a_recipe_used_opens_in_the_builder_as_a_draft(db):
    client = client_with(*ALL)
    response = client.post(page("abandoned-cart"), answers("abandoned-cart", minimum=99, code="CODE-7"))
    flow = Flow.objects.get()
    assert response["Location"] == reverse("admin:campaigns_flow_builder", args=[flow.pk])
    assert client.get(response["Location"]).status_code == 200
    assert flow.state == Flow.State.DRAFT
    assert flow.draft["trigger"]["where"][0]["value"] == 99
    assert CouponPool.objects.get().code == "CODE-7"


@pytest.mark.parametrize(
    ("slug", "wrong"),
    [
        ("abandoned-cart", {"code": "{{ x }}"}),
        ("abandoned-cart", {"minimum": "much"}),
        ("abandoned-cart", {"run_key": "a b"}),
        ("special-days", {"country": "ZZ"}),
        ("anniversary", {"field": "first_name"}),
        ("birthday", {"at": "25:00"}),
        ("wish-list", {"link": "javascript:alert(1)"}),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_made(db, slug, wrong):
    response = client_with(*ALL).post(page(slug), answers(slug, **wrong))
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    assert not Flow.objects.exists()
    assert not Message.objects.exists()


def test_rights_decide_who_looks_and_who_uses(db, viewer):
    assert client_with("delivery.view_message").get(reverse(GALLERY)).status_code == 403
    assert client_with("delivery.view_message").get(page("welcome")).status_code == 403
    assert viewer.post(page("welcome"), answers("welcome")).status_code == 403
    refused = client_with(*FLOW).post(page("welcome"), answers("welcome"))
    assert "You may not add: messages, coupon pools." in refused.content.decode()
    assert not Flow.objects.exists()


def test_the_list_of_flows_leads_to_the_gallery(editor, flow):
    assert reverse(GALLERY) in editor.get(reverse("admin:campaigns_flow_changelist")).content.decode()
