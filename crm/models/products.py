"""What the company sells."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.profiles import Profile


def asked_events() -> list[str]:
    """What the events are called by which people ask to be told."""
    return ["back_in_stock_requested", "price_drop_requested"]


def saved_events() -> list[str]:
    """What the events are called by which people keep a product for later."""
    return ["wishlist_added", "product_saved"]


def viewed_events() -> list[str]:
    """What the events are called when people look at a product."""
    return ["product_viewed"]


def bought_events() -> list[str]:
    """What the events are called when people buy."""
    return ["purchase"]


def product_properties() -> list[str]:
    """Which properties of events name a product."""
    return ["product_id", "sku"]


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
        indexes = [
            models.Index(fields=["category"], name="product_by_category"),
            models.Index(fields=["updated_at", "id"], name="product_by_change"),
        ]

    def __str__(self):
        return self.name or self.sku

    @property
    def in_stock(self) -> bool | None:
        """Whether it can be bought now; None when nobody counts its stock."""
        if not self.active:
            return False
        return None if self.stock is None else self.stock > 0


class ProductChange(models.Model):
    """One change of a product's price or of whether it can be bought: the history of prices, and the outbox of
    `back_in_stock` and `price_dropped`.

    It is written in the transaction that changes the product. `told_upto` is the last person (by profile id) who was
    looked at, and `told_at` tells that all were.
    """

    product = models.ForeignKey(Product, models.CASCADE, related_name="changes")
    changed_at = models.DateTimeField(_("when"))
    source = models.TextField(_("source"), blank=True, default="")
    old_price = models.DecimalField(_("price before"), max_digits=18, decimal_places=4, null=True)
    price = models.DecimalField(_("price"), max_digits=18, decimal_places=4, null=True)
    old_currency = models.TextField(_("currency before"), blank=True, default="")
    currency = models.TextField(_("currency"), blank=True, default="")
    was_in_stock = models.BooleanField(_("in stock before"), null=True)
    in_stock = models.BooleanField(_("in stock"), null=True)
    told_upto = models.BigIntegerField(default=0)
    told = models.IntegerField(_("people told"), default=0)
    told_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("change of a product")
        verbose_name_plural = _("changes of products")
        indexes = [
            models.Index(fields=["product", "changed_at"], name="product_change_by_time"),
            models.Index(
                fields=["id"], condition=models.Q(told_at__isnull=True), name="product_change_untold"
            ),
        ]

    def __str__(self):
        return f"{self.product_id} {self.changed_at:%Y-%m-%d %H:%M}"


class ProductInterest(models.Model):
    """When one person last asked for, saved, viewed and bought one product, and was last told about it.

    Kept from the event log by a reader (crm/interest.py); products are named as events name them, by number.
    """

    sku = models.TextField(_("product number"))
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    asked_at = models.DateTimeField(_("asked"), null=True)
    saved_at = models.DateTimeField(_("saved"), null=True)
    viewed_at = models.DateTimeField(_("viewed"), null=True)
    bought_at = models.DateTimeField(_("bought"), null=True)
    stock_told_at = models.DateTimeField(_("told that it is back"), null=True)
    price_told_at = models.DateTimeField(_("told of a lower price"), null=True)

    class Meta:
        verbose_name = _("interest in a product")
        verbose_name_plural = _("interests in products")
        constraints = [
            models.UniqueConstraint(fields=["sku", "profile"], name="one_interest_per_person_and_product")
        ]

    def __str__(self):
        return f"{self.profile_id} {self.sku}"


class CatalogueSettings(models.Model):
    """What counts as interest in a product, and when a change of it is worth telling. There is one row."""

    asked = ArrayField(
        models.TextField(),
        verbose_name=_("asked for it"),
        default=asked_events,
        blank=True,
        help_text=_("Names of events, separated by commas. Who asked waits until they are told."),
    )
    saved = ArrayField(models.TextField(), verbose_name=_("saved it"), default=saved_events, blank=True)
    viewed = ArrayField(models.TextField(), verbose_name=_("viewed it"), default=viewed_events, blank=True)
    bought = ArrayField(
        models.TextField(),
        verbose_name=_("bought it"),
        default=bought_events,
        blank=True,
        help_text=_("Who bought the product since is not told about it."),
    )
    properties = ArrayField(
        models.TextField(),
        verbose_name=_("product number in"),
        default=product_properties,
        help_text=_("Properties of these events that name a product; also within lists, such as items."),
    )
    lookback_days = models.PositiveIntegerField(
        _("interest lasts (days)"),
        default=90,
        validators=[MinValueValidator(1), MaxValueValidator(730)],
        help_text=_("How long a view or a saved product counts as interest."),
    )
    least_drop = models.DecimalField(
        _("least drop of a price (%)"),
        max_digits=5,
        decimal_places=2,
        default=5,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Smaller drops are not told."),
    )
    compare_days = models.PositiveIntegerField(
        _("compare with the lowest price of (days)"),
        default=30,
        validators=[MaxValueValidator(365)],
        help_text=_(
            "A drop counts from the lowest price of this time, as EU law asks of announced reductions. "
            "0 compares with the price before only."
        ),
    )
    quiet_days = models.PositiveIntegerField(
        _("quiet time (days)"),
        default=7,
        validators=[MaxValueValidator(365)],
        help_text=_("Nobody is told twice of the same kind of change of one product within this time."),
    )

    class Meta:
        verbose_name = _("catalogue settings")
        verbose_name_plural = _("catalogue settings")
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_row_of_catalogue_settings")]

    def __str__(self):
        return str(_("Catalogue settings"))

    def save(self, *args, **kwargs):
        """Keep it the only row."""
        self.pk = 1
        super().save(*args, **kwargs)

    @classmethod
    def load(cls) -> "CatalogueSettings":
        """The settings; the defaults as long as nobody saved any."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)
