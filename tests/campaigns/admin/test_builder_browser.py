"""A marketer builds flows by clicking, dragging and typing."""

from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import expect

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
    expect(page.get_by_test_id("flow-panel")).to_be_hidden()


def at_revision(page, number: int) -> None:
    """Wait until the page shows the draft with this revision, and no request is under way."""
    page.locator(f"#flow-tree[data-revision='{number}']").wait_for()
    expect(page.locator("#flow-builder[aria-busy]")).to_have_count(0)


@contextmanager
def held(page, pattern: str):
    """Answers to `pattern` wait until the block ends."""
    waiting, released = [], []
    page.route(pattern, lambda route: route.continue_() if released else waiting.append(route))
    yield
    released.append(True)
    for route in waiting:
        route.continue_()


def test_the_welcome_flow_is_built_by_clicking(admin, live_server):
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_changelist"))
        page.get_by_role("link", name="Make the first flow").click()
        page.get_by_label("Name").fill("Welcome series")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_test_id("flow-tree").wait_for()

        page.get_by_test_id("flow-trigger").click()
        page.get_by_test_id("trigger-event").wait_for()
        page.wait_for_function("document.activeElement.name === 'kind'")
        page.get_by_test_id("save-trigger").click()
        page.get_by_text("Choose an event.").first.wait_for()
        page.get_by_test_id("trigger-event").fill("push_subscribed")
        page.get_by_test_id("save-trigger").click()
        expect(page.get_by_test_id("flow-panel")).to_be_hidden()
        expect(page.get_by_test_id("flow-trigger")).to_contain_text("push_subscribed")
        expect(page.get_by_test_id("flow-trigger")).to_be_focused()

        plus = page.get_by_test_id("add-step")
        add(page, "wait", plus.last)
        page.get_by_test_id("save-step").click()
        page.get_by_text("Fill this in.").first.wait_for()
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
        expect(page.get_by_test_id("flow-state")).to_contain_text("Live")

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


STEPS = [
    {"key": "a", "kind": "wait", "config": {"amount": 1, "unit": "hours"}},
    {"key": "b", "kind": "message", "config": {"message": "welcome"}},
    {"key": "c", "kind": "wait", "config": {"amount": 3, "unit": "hours"}},
]


def test_keys_dragging_copies_and_saving_by_itself(admin, live_server):
    flow = Flow.objects.create(slug="f", name="F", draft={**editing.empty(), "steps": STEPS})
    other = Flow.objects.create(slug="other", name="Other", draft=editing.empty())

    def order() -> list[str]:
        return [step["key"] for step in Flow.objects.get(pk=flow.pk).draft["steps"]]

    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_builder", args=[flow.pk]))
        page.locator("#flow-trigger").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(page.locator("#step-b")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.name === 'message'")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("flow-panel")).to_be_hidden()
        expect(page.locator("#step-b")).to_be_focused()

        page.locator("#step-b").click()
        page.get_by_test_id("move-up").click()
        at_revision(page, 1)
        assert order() == ["b", "a", "c"]
        expect(page.get_by_test_id("move-up")).to_be_disabled()

        # What is changed in the panel is stored by itself, and its card follows.
        page.locator("#step-c").click()
        page.locator("#flow-field-amount").fill("7")
        at_revision(page, 2)
        expect(page.locator("#step-c")).to_contain_text("7 hours")
        expect(page.get_by_test_id("flow-saving")).to_have_text("Draft saved")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("flow-panel")).to_be_hidden()

        drag(page, page.locator(".flow-node:has(#step-c) .flow-grip"), page.locator("#step-b"))
        at_revision(page, 3)
        assert order()[-1] != "c"

        # Two presses, one after the other, are two undos; the keys do the same.
        page.get_by_test_id("flow-undo").dblclick()
        at_revision(page, 5)
        assert order() == ["b", "a", "c"]
        expect(page.locator("#step-c")).to_contain_text("3 hours")
        page.locator("#step-c").focus()
        page.keyboard.press("Control+Shift+z")
        at_revision(page, 6)
        expect(page.locator("#step-c")).to_contain_text("7 hours")

        page.locator("#step-c").hover()
        page.locator("#more-c").click()
        page.get_by_test_id("menu-copy").click()
        page.get_by_text("Copied.").wait_for()
        page.goto(live_server.url + reverse("admin:campaigns_flow_builder", args=[other.pk]))
        page.get_by_test_id("add-step").click()
        page.get_by_test_id("pick-paste").click()
        at_revision(page, 1)
        expect(page.get_by_test_id("step-card")).to_contain_text("7 hours")

        Flow.objects.filter(pk=other.pk).update(revision=99)
        page.get_by_test_id("flow-undo").click()
        page.get_by_test_id("flow-stale").get_by_role("link").click()
        at_revision(page, 99)


def test_what_is_typed_and_pressed_while_the_page_waits_is_not_lost(admin, live_server):
    flow = Flow.objects.create(slug="f", name="F", draft={**editing.empty(), "steps": STEPS})
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_builder", args=[flow.pk]))
        add(page, "split", page.get_by_test_id("add-step").last)
        with held(page, "**/*redraw=1*"), page.expect_request("**/*redraw=1*"):
            page.get_by_test_id("branch-form").get_by_role("button", name="Profile field").click()
            page.get_by_label("Question").fill("From Poland?")
            page.get_by_test_id("branch-name").fill("Poles")
            page.get_by_test_id("save-step").click()
        # The condition has no value yet.
        page.get_by_test_id("branch-form").get_by_role("alert").first.wait_for()
        expect(page.get_by_label("Question")).to_have_value("From Poland?")
        expect(page.get_by_test_id("branch-name")).to_have_value("Poles")

        # Leaving what could not be stored asks first: the second press leaves.
        page.get_by_test_id("panel-close").click()
        expect(page.get_by_test_id("flow-panel")).to_be_visible()
        page.get_by_test_id("panel-close").click()
        expect(page.get_by_test_id("flow-panel")).to_be_hidden()

        # Presses while a move is under way: a step, a key and an undo; each finds the tree that is there by then.
        with held(page, "**/move/"), page.expect_request("**/move/"):
            page.locator("#step-c").focus()
            page.keyboard.press("Alt+ArrowUp")
            page.locator("#step-c").focus()
            page.keyboard.press("Alt+ArrowUp")
            page.keyboard.press("Control+z")
            page.locator("#step-a").click()
        at_revision(page, 3)
        assert [step["key"] for step in Flow.objects.get().draft["steps"]] == ["a", "c", "b"]
        expect(page.get_by_test_id("step-form")).to_be_visible()

        # A press while what was typed is on its way into the draft.
        with held(page, "**/step/a/"), page.expect_request("**/step/a/"):
            page.locator("#flow-field-amount").fill("5")
            page.locator("#step-b").click()
        at_revision(page, 4)
        expect(page.locator("#step-a")).to_contain_text("5 hours")
        expect(page.locator("#flow-field-message")).to_have_value("welcome")
