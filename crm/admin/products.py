"""The catalogue, and what of it is told to people."""

from decimal import Decimal
from typing import Any

import msgspec
from babel.numbers import get_currency_precision
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from crm import catalogue, interest
from crm.admin.base import BigTableAdmin, pretty
from crm.admin.export_rows import ProductTable
from crm.admin.exports import Exports
from crm.admin.import_links import ImportLink
from crm.models import CatalogueSettings, Product, ProductChange

CHANGES = 30  # shown of a product's history
PEOPLE = 25  # shown of those who wait for it
_WIDTH, _HEIGHT = 640, 120  # of the drawing of prices, in its own units
SIGNS = {"asked_at": _("asked"), "saved_at": _("saved"), "viewed_at": _("viewed"), "bought_at": _("bought")}


@admin.register(Product)
class ProductAdmin(ImportLink, Exports, BigTableAdmin):
    """What the CRMs say; a hand-made change lasts until the CRM's record changes."""

    table = ProductTable
    contacts = False
    export_permission = "crm.export_product"
    imported = "products"
    actions = ["export_chosen"]

    list_display = ["title", "sku", "category", "shown_price", "shown_stock", "for_sale", "source"]
    list_filter = ["active"]
    search_fields = ["sku", "name"]
    search_help_text = _("Product number or name")
    list_empty = _(
        "No products yet. Connect a CRM and choose its products, import a file, or send them by API."
    )
    ordering = ["name", "sku"]
    fields = [
        *("sku", "name", "category", ("price", "currency"), ("stock", "active")),
        *("url", "image_url", "description", "shown_attributes", ("source", "updated_at")),
    ]
    readonly_fields = ["shown_attributes", "source", "updated_at"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    change_form_before_template = "admin/crm/product/about.html"

    @display(description=_("product"), ordering="name", header=True)
    def title(self, product: Product) -> list[Any]:
        """Its picture and its name in its own direction."""
        picture = {"path": product.image_url, "squared": True, "width": 40, "height": 40}
        shown = picture_of(product)
        name = format_html("<bdi>{}</bdi>", str(product))
        return [name, "", str(product)[:1].upper(), *([picture] if shown else [])]

    @display(description=_("price"), ordering="price")
    def shown_price(self, product: Product) -> str:
        """With the currency."""
        return written(product.price, product.currency)

    @display(description=_("in stock"), ordering="stock")
    def shown_stock(self, product: Product) -> str:
        """Without idle zeros."""
        return written(product.stock)

    @display(
        description=_("for sale"),
        ordering="active",
        label={"yes": "success", "out": "warning", "no": "danger"},
    )
    def for_sale(self, product: Product) -> tuple[str, str]:
        """Yes, sold out, or no."""
        if not product.active:
            return "no", gettext("not for sale")
        return ("out", gettext("sold out")) if product.in_stock is False else ("yes", gettext("for sale"))

    @display(description=_("attributes"))
    def shown_attributes(self, product: Product) -> str:
        """As indented JSON."""
        return pretty(product.attributes)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Room for the description."""
        if db_field.name == "description":
            kwargs["widget"] = UnfoldAdminTextareaWidget(attrs={"rows": 4})
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(db_field, models.DecimalField):
            field.widget.format_value = _plain
        return field

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        """The number stays: events and messages know the product by it."""
        return [*self.readonly_fields, *(["sku"] if obj else [])]

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> list[Any]:
        """Who told of it and when is known of a product that there is."""
        return self.fields if obj else self.fields[:-1]

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """By the same service as everybody else, so that a lower price is told."""
        given = {name: form.cleaned_data[name] for name in form.changed_data if name in catalogue.FIELDS}
        values = {
            name: catalogue.text(name, value, name) if name in catalogue.TEXTS else value
            for name, value in given.items()
        }
        catalogue.upsert([catalogue.Patch(obj.sku, values)], "admin")
        obj.pk = Product.objects.get(sku=obj.sku).pk
        obj.refresh_from_db()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """With the history of prices and those who wait for it."""
        product = self.get_object(request, object_id)
        about = _about(product, request) if product and self.has_view_permission(request, product) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **about})


def _plain(number: Any) -> Any:
    """As somebody would type it: the database's 15.0000 is 15."""
    return written(number) if isinstance(number, Decimal) else number


def picture_of(product: Product) -> str:
    """Its picture's address, if pages may load it: the content policy takes https and our own."""
    return (
        product.image_url
        if product.image_url.startswith(("https://", f"{settings.NUDGE_PUBLIC_URL}/"))
        else ""
    )


class Change(msgspec.Struct):
    """One line of a product's history."""

    at: Any
    words: list[str]
    source: str
    told: int


def _about(product: Product, request: HttpRequest) -> dict[str, Any]:
    changes = list(product.changes.order_by("-changed_at", "-pk")[:CHANGES])
    counts = interest.of_product(product.sku)
    people = request.user.has_perm("crm.view_profile")
    return {
        "product": product,
        "picture": picture_of(product),
        "page_link": product.url if product.url.startswith(("https://", "http://")) else "",
        "price": written(product.price, product.currency),
        "stock": written(product.stock),
        "changes": [Change(each.changed_at, _words(each), each.source, each.told) for each in changes],
        "drawing": _drawing(product, changes[::-1]),
        "waiting": [
            (counts["asked"], gettext("asked to be told")),
            (counts["saved"], gettext("saved it")),
            (counts["viewed"], gettext("viewed it")),
        ],
        "people": [
            (row.profile, [SIGNS[name] for name in SIGNS if getattr(row, name)], row.latest)
            for row in (interest.waiting(product.sku, PEOPLE) if people else ())
        ],
    }


def _words(change: ProductChange) -> list[str]:
    """What changed, in sentences."""
    found = []
    if (change.old_price, change.old_currency) != (change.price, change.currency):
        old, new = written(change.old_price, change.old_currency), written(change.price, change.currency)
        found.append(f"{old or '—'} → {new or '—'}")
    if change.was_in_stock is not change.in_stock:
        found.append(
            {
                True: gettext("in stock"),
                False: gettext("sold out or not for sale"),
                None: gettext("stock not counted"),
            }[change.in_stock]
        )
    return found


def _drawing(product: Product, changes: list[ProductChange]) -> dict[str, Any] | None:
    """The prices as a line of steps, oldest first; None if the price never changed in the product's own currency."""
    steps = [change for change in changes if change.old_currency == change.currency == product.currency]
    steps = [change for change in steps if change.old_price is not None and change.price is not None]
    steps = [change for change in steps if change.old_price != change.price]
    if not steps:
        return None
    prices = [float(steps[0].old_price or 0), *(float(change.price or 0) for change in steps)]
    times = [change.changed_at.timestamp() for change in steps]
    end = timezone.now().timestamp()
    start = times[0] - max(1.0, (end - times[0]) * 0.1)
    low, high = min(prices), max(prices)

    def place(at: float, price: float) -> str:
        across = _WIDTH * (at - start) / max(1.0, end - start)
        down = 8 + (_HEIGHT - 16) * (high - price) / (high - low)
        return f"{across:.1f},{down:.1f}"

    points = [place(start, prices[0])]
    for at, before, after in zip(times, prices, prices[1:], strict=False):
        points += [place(at, before), place(at, after)]
    points.append(place(end, prices[-1]))
    return {
        "points": " ".join(points),
        "width": _WIDTH,
        "height": _HEIGHT,
        "low": written(Decimal(str(low)), product.currency),
        "high": written(Decimal(str(high)), product.currency),
        "since": steps[0].changed_at,
    }


def written(number: Decimal | None, unit: str = "") -> str:
    """Without idle zeros, with its unit; of money as many decimals as the currency has."""
    if number is None:
        return ""
    short = number.normalize()
    least = get_currency_precision(unit) if unit else 0
    decimals = max(least, -int(short.as_tuple().exponent))
    return f"{short:.{decimals}f} {unit}".strip()


@admin.register(CatalogueSettings)
class CatalogueSettingsAdmin(ModelAdmin):
    """The one row of settings."""

    formfield_overrides = {ArrayField: {"widget": UnfoldAdminTextInputWidget(attrs={"dir": "ltr"})}}
    fieldsets = [
        (
            _("Who cares for a product"),
            {"fields": ["asked", "saved", "viewed", "bought", "properties", "lookback_days"]},
        ),
        (_("What is told, and how often"), {"fields": ["least_drop", "compare_days", "quiet_days"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: there is one row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: there is one row."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The settings, also before they were saved."""
        return CatalogueSettings.load() if object_id == "1" else None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Straight to the row."""
        return HttpResponseRedirect(reverse("admin:crm_cataloguesettings_change", args=[1]))

    def save_model(self, request: HttpRequest, obj: CatalogueSettings, form: Any, change: bool) -> None:
        """Save; other events mean that interest is read from the log anew."""
        if interest.save_settings(obj):
            messages.info(
                request,
                _("Who cares for which product is read from the event log anew; that takes some minutes."),
            )
