"""The catalogue."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from crm.admin.base import BigTableAdmin, pretty
from crm.admin.export_rows import ProductTable
from crm.admin.exports import Exports
from crm.admin.import_links import ImportLink
from crm.models import Product


@admin.register(Product)
class ProductAdmin(ImportLink, Exports, BigTableAdmin):
    """What the CRMs say; a hand-made change lasts until the CRM's record changes."""

    table = ProductTable
    export_permission = "crm.export_product"
    imported = "products"
    actions = ["export_chosen"]

    list_display = ["title", "sku", "category", "shown_price", "shown_stock", "active", "source"]
    list_filter = ["active"]
    search_fields = ["sku", "name"]
    search_help_text = _("Product number or name")
    list_empty = _("No products yet. Connect a CRM and choose its products to be read.")
    ordering = ["name", "sku"]
    fields = [
        *("sku", "name", "category", "price", "currency", "stock", "active"),
        *("url", "image_url", "description", "shown_attributes", "source", "updated_at"),
    ]
    readonly_fields = ["shown_attributes", "source", "updated_at"]

    @display(description=_("product"), ordering="name")
    def title(self, product: Product) -> str:
        """Its name in its own direction."""
        return format_html("<bdi>{}</bdi>", str(product))

    @display(description=_("price"), ordering="price")
    def shown_price(self, product: Product) -> str:
        """With the currency."""
        return "" if product.price is None else f"{product.price.normalize():f} {product.currency}".strip()

    @display(description=_("in stock"), ordering="stock")
    def shown_stock(self, product: Product) -> str:
        """Without idle zeros."""
        return "" if product.stock is None else f"{product.stock.normalize():f}"

    @display(description=_("attributes"))
    def shown_attributes(self, product: Product) -> str:
        """As indented JSON."""
        return pretty(product.attributes)
