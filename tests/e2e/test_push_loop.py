"""A visitor of the demo shop subscribes, is greeted, clicks, buys; all with the real product and a real Firefox."""

import pytest

pytestmark = pytest.mark.browser

EMAIL = "e2e.visitor@example.com"


@pytest.fixture(scope="module")
def before(product) -> dict:
    """The greeting's figures before the visitor came."""
    return product.figures("welcome")


def test_a_visitor_signs_in_looks_around_and_subscribes(stack, before, firefox):
    shop = f"{stack.url}/demo/shop/"
    firefox.open(shop + "sign-in/")
    firefox.fill("[data-testid=email]", EMAIL)
    firefox.fill("[data-testid=first-name]", "Ewa")
    firefox.click("[data-testid=sign-in]")
    firefox.wait_for("document.querySelector('[data-testid=visitor]')?.textContent.includes('Ewa')")
    for slug in ("yirgacheffe", "haraz-mocha"):
        firefox.open(f"{shop}{slug}/")
        firefox.wait_for("document.querySelector('[data-testid=bell]')?.dataset.state === 'unsubscribed'")
    firefox.wait_for("!document.querySelector('[data-testid=ask]').hidden")
    firefox.click("[data-testid=ask-yes]")
    firefox.answer_permission_prompt()
    firefox.wait_for("document.querySelector('[data-testid=bell]').dataset.state === 'subscribed'")


def test_what_she_did_arrived_under_her_name(stack, product):
    def visitor() -> list[tuple]:
        status, found = product.api("GET", f"profiles/?email={EMAIL}")
        assert status == 200, found
        return [(profile["email"], profile["first_name"]) for profile in found["profiles"]]

    stack.until(lambda: visitor() == [(EMAIL, "Ewa")], 60, "aware of the visitor's name")


def test_the_greeting_is_shown(stack, product, before, firefox):
    # The flow waits for a minute first.
    stack.until(lambda: product.figures("welcome")["sent"] == before["sent"] + 1, 120, "sending the greeting")
    shown = firefox.notification("Welcome, Ewa!")
    assert "roasted this morning" in shown["body"]
    assert stack.url.removeprefix("http://") in shown["source"]
    stack.until(
        lambda: product.figures("welcome")["delivered"] == before["delivered"] + 1,
        30,
        "told that it was shown",
    )


def test_a_click_opens_the_page_and_counts(stack, product, before, firefox):
    firefox.click_notification("Welcome, Ewa!")
    firefox.switch_to("/demo/shop/")
    stack.until(
        lambda: product.figures("welcome")["clicked"] == before["clicked"] + 1, 30, "told of the click"
    )
    assert product.figures("welcome")["dismissed"] == before["dismissed"]


def test_an_order_is_credited_to_the_greeting(stack, product, before, firefox):
    shop = f"{stack.url}/demo/shop/"
    firefox.open(f"{shop}cezve/")
    firefox.click("[data-testid=add-to-cart]")
    firefox.wait_for("document.querySelector('[data-testid=cart-count]')?.textContent.trim() === '1'")
    firefox.open(f"{shop}checkout/")
    firefox.click("[data-testid=place-order]")
    firefox.wait_for("document.querySelector('[data-testid=order-id]')")

    def credited() -> bool:
        return product.figures("welcome")["converted"] == before["converted"] + 1

    stack.until(credited, 30, "aware of the order")
    earned = {line["currency"]: float(line["value"]) for line in product.figures("welcome")["revenue"]}
    had = {line["currency"]: float(line["value"]) for line in before["revenue"]}
    assert earned["EUR"] - had.get("EUR", 0) == pytest.approx(32.5)
