"""What the company sells."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Product(models.Model):
    """One entry of the catalogue; its key is the company's own product number."""

    sku = models.TextField(_("product number"), unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    price = models.DecimalField(_("price"), max_digits=18, decimal_places=4, null=True, blank=True)
    currency = models.TextField(_("currency"), blank=True, default="", help_text=_("Such as EUR or SAR."))
    stock = models.DecimalField(_("in stock"), max_digits=18, decimal_places=4, null=True, blank=True)
    category = models.TextField(_("category"), blank=True, default="")
    description = models.TextField(_("description"), blank=True, default="")
    url = models.TextField(_("page"), blank=True, default="")
    image_url = models.TextField(_("image"), blank=True, default="")
    attributes = models.JSONField(_("attributes"), default=dict, db_default={}, blank=True)
    active = models.BooleanField(_("for sale"), default=True)
    source = models.TextField(_("source"), blank=True, default="", editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        permissions = [("export_product", _("Can export products"))]
        indexes = [models.Index(fields=["category"], name="product_by_category")]

    def __str__(self):
        return self.name or self.sku
