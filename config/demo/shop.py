"""Kahwa, the demo shop at /demo/shop/.

The pages are ordinary Django: cart and sign-in live in the session, forms post and redirect. What Nudge should hear
is handed to the page as a list of SDK calls (`later`), which `static/demo/shop.js` makes; a customer's shop would do
the same. A visitor may leave a page before its scripts have run, so calls are handed to every page until one of them
says, in a cookie, that it has made them.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from typing import Any, cast

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from config.demo.catalogue import CATEGORIES, CURRENCY, PRODUCTS, Product

app_name = "shop"

MAX_QUANTITY = 20
MAX_CALLS = 50  # kept for a visitor whose browser runs no scripts
_SESSION = "kahwa"
_MADE = "kahwa_made"  # the cookie with the id of the last call that a page has made
_POLICY = {
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF],
    "default-src": [SELF],
    "object-src": [NONE],
}
View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class Line:
    """One line of the cart; `total` is quantity times price in the shop's currency."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        return self.product.price * self.quantity

    def as_item(self) -> dict[str, Any]:
        """The line as it appears in `items` of events."""
        return {
            "product_id": self.product.slug,
            "name": str(self.product.name),
            "category": self.product.category,
            "quantity": self.quantity,
            "price": float(self.product.price),
        }


class SignIn(forms.Form):
    """Who the visitor says to be: the demo asks for no password."""

    email = forms.EmailField(
        label=_("Email"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "data-testid": "email"}),
    )
    first_name = forms.CharField(
        label=_("First name"),
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "given-name", "data-testid": "first-name"}),
    )


def browser_key() -> str:
    """The API key for pages, written by the demo's seed; empty when there is none yet."""
    return _written("demo_browser_key")


def _written(name: str) -> str:
    try:
        return (settings.NUDGE_DATA / name).read_text().strip()
    except OSError:
        return ""


def shop_page(view: View) -> View:
    """A page of the shop: only in the demo, never cached (it carries the visitor's cart), no inline code."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.NUDGE_DEMO:
            raise Http404
        return view(request, *args, **kwargs)

    return cast(View, csp_replace(_POLICY)(never_cache(guarded)))


# --- What the session holds -------------------------------------------------------------------------------


def _kept(request: HttpRequest) -> dict[str, Any]:
    return request.session.get(_SESSION, {})


def _keep(request: HttpRequest, **changes: Any) -> None:
    request.session[_SESSION] = {**_kept(request), **changes}


def _lines(request: HttpRequest) -> list[Line]:
    cart = _kept(request).get("cart", {})
    return [Line(PRODUCTS[slug], quantity) for slug, quantity in cart.items() if slug in PRODUCTS]


def _total(lines: list[Line]) -> Decimal:
    return sum((line.total for line in lines), Decimal())


def later(request: HttpRequest, *call: Any) -> None:
    """Has the next page make `nudge[call[0]](*call[1:])`. The id lets the pages make it once, reloads included."""
    calls = [*_kept(request).get("calls", []), {"id": uuid.uuid4().hex, "call": list(call)}]
    _keep(request, calls=calls[-MAX_CALLS:])


def _waiting(request: HttpRequest) -> list[dict[str, Any]]:
    """The calls that no page has made yet."""
    calls = _kept(request).get("calls", [])
    ids = [call["id"] for call in calls]
    made = request.COOKIES.get(_MADE)
    return calls[ids.index(made) + 1 :] if made in ids else calls


def _identify(request: HttpRequest, form: SignIn) -> None:
    email, first_name = form.cleaned_data["email"], form.cleaned_data["first_name"]
    _keep(request, visitor={"email": email, "first_name": first_name}, ask=True)
    later(request, "identify", {"email": email, **_proof(email)}, {"first_name": first_name})


def _proof(email: str) -> dict[str, str]:
    """What a shop adds for somebody whose password it has checked (the demo asks for none)."""
    secret = _written("demo_identity_secret").encode()
    signed = hmac.new(secret, f"email:{email.strip().lower()}".encode(), hashlib.sha256)
    return {"proof": signed.hexdigest()} if secret else {}


def _page(request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
    """Renders a page with what all of them need, and hands over the calls that wait."""
    kept, waiting = _kept(request), _waiting(request)
    calls = [*waiting, *context.pop("calls", [])]
    ask = bool(kept.get("ask"))
    if waiting != kept.get("calls", []) or ask:
        _keep(request, calls=waiting, ask=False)
    lines = _lines(request)
    context = {
        "nudge_key": browser_key(),
        "handover": {"calls": calls, "ask": ask},
        "visitor": kept.get("visitor"),
        "sign_in": SignIn(auto_id="header_%s"),
        "lines": lines,
        "total": _total(lines),
        "cart_count": sum(line.quantity for line in lines),
        **context,
    }
    return render(request, template, context, status=status)


# --- Pages ------------------------------------------------------------------------------------------------


@shop_page
def product_list(request: HttpRequest) -> HttpResponse:
    """All products, or those of `?category=`."""
    category = request.GET.get("category", "")
    if category not in CATEGORIES:
        category = ""
    products = [product for product in PRODUCTS.values() if not category or product.category == category]
    return _page(
        request, "demo/list.html", products=products, categories=CATEGORIES.items(), category=category
    )


@shop_page
def product_page(request: HttpRequest, slug: str) -> HttpResponse:
    """One product; tracks `product_viewed`."""
    if slug not in PRODUCTS:
        raise Http404
    product = PRODUCTS[slug]
    viewed = {
        "product_id": product.slug,
        "name": str(product.name),
        "category": product.category,
        "price": float(product.price),
        "currency": CURRENCY,
        "url": request.build_absolute_uri(request.path),
        "image": request.build_absolute_uri(product.photo),
    }
    others = [other for other in PRODUCTS.values() if other.category == product.category and other != product]
    return _page(
        request,
        "demo/product.html",
        product=product,
        others=others[:3],
        quantities=range(1, 7),
        calls=[{"call": ["track", "product_viewed", viewed]}],
    )


@shop_page
def cart_page(request: HttpRequest) -> HttpResponse:
    """The cart."""
    return _page(request, "demo/cart.html", max_quantity=MAX_QUANTITY)


@shop_page
@require_POST
def cart_change(request: HttpRequest, slug: str) -> HttpResponse:
    """Sets a product's `quantity` (0 removes it), or adds to it with `add`; tracks `cart_updated`."""
    if slug not in PRODUCTS:
        raise Http404
    kept = _kept(request)
    cart = dict(kept.get("cart", {}))
    try:
        quantity = int(request.POST.get("quantity", "1"))
    except ValueError:
        quantity = 1
    if "add" in request.POST:
        quantity = cart.get(slug, 0) + max(quantity, 1)
    cart[slug] = min(quantity, MAX_QUANTITY)
    if cart[slug] < 1:
        del cart[slug]
    cart_id = kept.get("cart_id") or str(uuid.uuid4())
    _keep(request, cart=cart, cart_id=cart_id, ask=kept.get("ask") or "add" in request.POST)
    lines = _lines(request)
    updated = {"cart_id": cart_id, "items": [line.as_item() for line in lines]}
    later(request, "track", "cart_updated", {**updated, "total": float(_total(lines)), "currency": CURRENCY})
    return redirect("shop:cart")


@shop_page
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Takes the order (nothing is paid for); tracks `purchase`, and identifies a visitor who is not signed in."""
    lines = _lines(request)
    if not lines:
        return redirect("shop:cart")
    form = None if _kept(request).get("visitor") else SignIn(request.POST or None)
    if request.method != "POST" or (form and not form.is_valid()):
        return _page(request, "demo/checkout.html", form=form)
    if form:
        _identify(request, form)
    order = {"order_id": f"K-{secrets.token_hex(4).upper()}", "total": float(_total(lines))}
    items = [line.as_item() for line in lines]
    later(request, "track", "purchase", {**order, "currency": CURRENCY, "items": items})
    _keep(request, cart={}, cart_id=None, order=order)
    return redirect("shop:thanks")


@shop_page
def thanks(request: HttpRequest) -> HttpResponse:
    """Confirms the last order."""
    order = _kept(request).get("order")
    return _page(request, "demo/thanks.html", order=order) if order else redirect("shop:list")


@shop_page
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Email and first name -> `nudge.identify`."""
    form = SignIn(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, "demo/sign_in.html", form=form)
    _identify(request, form)
    return redirect("shop:list")


@shop_page
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Forgets visitor and cart -> `nudge.reset`. An admin's login in the same session stays."""
    request.session.pop(_SESSION, None)
    later(request, "reset")
    return redirect("shop:list")


urlpatterns = [
    path("", product_list, name="list"),
    path("cart/", cart_page, name="cart"),
    path("cart/<slug:slug>/", cart_change, name="cart_change"),
    path("checkout/", checkout, name="checkout"),
    path("thanks/", thanks, name="thanks"),
    path("sign-in/", sign_in, name="sign_in"),
    path("sign-out/", sign_out, name="sign_out"),
    path("<slug:slug>/", product_page, name="product"),
]
