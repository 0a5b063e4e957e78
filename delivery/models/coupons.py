"""Coupon codes, and who was given which."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Profile
from crm.models.outlined import Outlined


class CouponPool(models.Model):
    """Codes that were uploaded or made for one offer; or one code that everybody gets."""

    class Kind(models.TextChoices):
        UNIQUE = "unique", _("a code of their own for everybody")
        FIXED = "fixed", _("the same code for everybody")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.TextField(_("name"))
    kind = models.TextField(_("kind"), choices=Kind, default=Kind.UNIQUE)
    code = models.CharField(_("code"), max_length=100, blank=True, default="")
    expires_at = models.DateTimeField(
        _("valid until"), null=True, blank=True, help_text=_("No code is given from then on.")
    )
    low_mark = models.PositiveIntegerField(
        _("warn below"),
        default=100,
        help_text=_("When fewer codes are left than this, an alert says so."),
    )
    event_name = models.CharField(
        _("used by the event"),
        max_length=200,
        default="purchase",
        help_text=_("The event that tells that a code was used."),
    )
    event_property = models.CharField(
        _("in the property"),
        max_length=200,
        default="coupon",
        help_text=_("The event's property that holds the code."),
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("coupon pool")
        verbose_name_plural = _("coupon pools")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=~Q(kind="fixed", code=""), name="a_fixed_coupon_has_a_code")
        ]

    def __str__(self):
        return self.name


class CouponCode(Outlined):
    """One code of a pool. It is free until it is given; then it is that person's for good.

    A pool's fixed code has an empty row for each person it was given to. `given_to` is the number the person had then,
    whoever they were merged into since: it is what keeps two workers from giving a person two codes.
    """

    contact_data = {"code": "text", "cause": "text"}

    pool = models.ForeignKey(
        CouponPool, models.CASCADE, related_name="codes", db_index=False, verbose_name=_("pool")
    )
    code = models.CharField(_("code"), max_length=100, blank=True)
    profile = models.ForeignKey(
        Profile,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("profile"),
    )
    given_to = models.BigIntegerField(null=True, editable=False)
    cause = models.TextField(null=True, editable=False)
    given_at = models.DateTimeField(_("given"), null=True, blank=True)
    redeemed_at = models.DateTimeField(_("used"), null=True, blank=True)

    class Meta:
        verbose_name = _("coupon code")
        verbose_name_plural = _("coupon codes")
        constraints = [
            models.UniqueConstraint(
                fields=["pool", "code"], condition=~Q(code=""), name="one_coupon_code_per_pool"
            ),
            models.UniqueConstraint(fields=["pool", "given_to"], name="one_coupon_per_person_and_pool"),
            models.UniqueConstraint(fields=["cause"], name="one_coupon_per_cause"),
        ]
        indexes = [
            models.Index(fields=["pool", "id"], condition=Q(given_at__isnull=True), name="coupon_free"),
            models.Index(fields=["profile", "pool"], name="coupon_by_profile"),
        ]

    def __str__(self):
        return self.code or self.pool.code
