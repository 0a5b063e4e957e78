"""A marketer builds the welcome flow by clicking."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from campaigns.flows import editing
from campaigns.models import Flow
from delivery.models import Message, MessageContent
from tests.campaigns.admin.browser import opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def admin(transactional_db) -> User:
    for slug, name in (("welcome", "Welcome push"), ("reminder", "Here is 10 % off")):
        message = Message.objects.create(slug=slug, name=name)
        MessageContent.objects.create(
            message=message, channel="webpush", content={"title": name, "body": "…"}
        )
    return User.objects.create_superuser("admin")


def add(page, kind: str, plus) -> None:
    plus.click()
    page.get_by_test_id(f"pick-{kind}").click()
    page.get_by_test_id("step-form").wait_for()


def save(page) -> None:
    page.get_by_test_id("save-step").click()
    page.get_by_test_id("flow-panel").wait_for(state="hidden")


def test_the_welcome_flow_is_built_by_clicking(admin, live_server):
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_changelist"))
        page.get_by_role("link", name="Make the first flow").click()
        page.get_by_label("Name").fill("Welcome series")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_test_id("flow-tree").wait_for()

        page.get_by_test_id("flow-trigger").click()
        event = page.get_by_test_id("trigger-event")
        event.wait_for()
        page.wait_for_function("document.activeElement.name === 'kind'")
        page.get_by_test_id("save-trigger").click()
        page.get_by_text("Choose an event.").wait_for()
        event.fill("push_subscribed")
        page.get_by_test_id("save-trigger").click()
        page.get_by_test_id("flow-panel").wait_for(state="hidden")
        assert "push_subscribed" in page.get_by_test_id("flow-trigger").inner_text()
        assert page.get_by_test_id("flow-trigger").evaluate("card => card === document.activeElement")

        plus = page.get_by_test_id("add-step")
        add(page, "wait", plus.last)
        page.get_by_test_id("save-step").click()
        page.get_by_text("Fill this in.").wait_for()
        page.locator("#flow-field-amount").fill("1")
        page.locator("#flow-field-unit").select_option("minutes")
        save(page)

        add(page, "message", plus.last)
        page.locator("#flow-field-message").select_option("welcome")
        page.get_by_test_id("message-preview").wait_for()
        save(page)

        add(page, "split", plus.last)
        page.get_by_label("Question").fill("Has bought?")
        branch = page.get_by_test_id("branch-form").first
        branch.get_by_role("button", name="Event").click()
        branch = page.get_by_test_id("branch-form").first
        branch.get_by_label("Event", exact=True).first.fill("purchase")
        branch.get_by_test_id("branch-name").fill("Bought")
        save(page)

        yes, no = (
            page.get_by_role("group", name="Branch: Bought"),
            page.get_by_role("group", name="Branch: Everybody else"),
        )
        add(page, "exit", yes.get_by_test_id("add-step"))
        page.get_by_label("Reason").fill("has ordered")
        save(page)
        add(page, "message", no.get_by_test_id("add-step"))
        page.locator("#flow-field-message").select_option("reminder")
        save(page)

        page.get_by_test_id("flow-publish").click()
        page.get_by_test_id("confirm-publish").click()
        page.get_by_text("Version 1 is live").wait_for()
        assert "Live" in page.get_by_test_id("flow-state").inner_text()

    flow = Flow.objects.get()
    assert (flow.slug, flow.state) == ("welcome-series", "live")
    wait, message, split = flow.live_version.definition["steps"]
    assert wait["config"] == {"amount": 1, "unit": "minutes"}
    assert message["config"] == {"message": "welcome", "channel": "webpush"}
    bought, rest = split["branches"]
    assert bought["rule"]["all"][0]["name"] == "purchase"
    assert [step["kind"] for step in bought["steps"]] == ["exit"]
    assert "rule" not in rest
    assert rest["steps"][0]["config"]["message"] == "reminder"


def drag(page, grip, target) -> None:
    """Drag by hand: in small steps, as the browser only then sees where it goes."""
    grip.hover()
    start, end = grip.bounding_box(), target.bounding_box()
    page.mouse.move(start["x"] + 8, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(start["x"], start["y"] - 30, steps=5)
    page.mouse.move(end["x"] + 60, end["y"] + 10, steps=15)
    page.mouse.move(end["x"] + 60, end["y"] + 5, steps=5)
    page.mouse.up()


def test_keyboard_and_dragging(admin, live_server):
    steps = [
        {"key": "a", "kind": "wait", "config": {"amount": 1, "unit": "hours"}},
        {"key": "b", "kind": "message", "config": {"message": "welcome"}},
        {"key": "c", "kind": "wait", "config": {"amount": 3, "unit": "hours"}},
    ]
    flow = Flow.objects.create(slug="f", name="F", draft={**editing.empty(), "steps": steps})

    def order() -> list[str]:
        return [step["key"] for step in Flow.objects.get().draft["steps"]]

    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_builder", args=[flow.pk]))
        focused = "document.activeElement.id"
        page.locator("#flow-trigger").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == "step-b"
        page.keyboard.press("Enter")
        page.get_by_test_id("step-form").wait_for()
        page.wait_for_function("document.activeElement.name === 'message'")
        page.keyboard.press("Escape")
        page.get_by_test_id("flow-panel").wait_for(state="hidden")
        assert page.evaluate(focused) == "step-b"

        page.locator("#step-b").click()
        page.get_by_test_id("move-up").click()
        page.get_by_text("Step moved").wait_for()
        assert order() == ["b", "a", "c"]
        page.wait_for_function("document.querySelector('[data-testid=move-up]').disabled")

        page.keyboard.press("Escape")
        drag(page, page.locator(".flow-node:has(#step-c) .flow-grip"), page.locator("#step-b"))
        page.wait_for_function("document.querySelector('[data-testid=flow-tree]').dataset.revision === '2'")
        assert order()[-1] != "c"

        page.get_by_test_id("flow-undo").click()
        page.get_by_text("Undone").wait_for()
        assert order() == ["b", "a", "c"]

        Flow.objects.filter(pk=flow.pk).update(revision=99)
        page.get_by_test_id("flow-undo").click()
        page.get_by_test_id("flow-stale").get_by_role("link").click()
        page.wait_for_function("document.querySelector('[data-testid=flow-tree]')?.dataset.revision === '99'")


def test_what_is_typed_and_pressed_during_a_redraw_is_not_lost(admin, live_server):
    flow = Flow.objects.create(slug="f", name="F", draft=editing.empty())
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_builder", args=[flow.pk]))
        add(page, "split", page.get_by_test_id("add-step").last)
        held = []
        page.route("**/*redraw=1*", lambda route: held.append(route))
        with page.expect_request("**/*redraw=1*"):
            page.get_by_test_id("branch-form").get_by_role("button", name="Profile field").click()
        page.get_by_label("Question").fill("From Poland?")
        page.get_by_test_id("branch-name").fill("Yes")
        page.get_by_test_id("save-step").click()
        held.pop().continue_()
        page.get_by_test_id("branch-form").get_by_role(
            "alert"
        ).first.wait_for()  # the condition has no value yet
        assert page.get_by_label("Question").input_value() == "From Poland?"
        assert page.get_by_test_id("branch-name").input_value() == "Yes"
