"""Stores and other places, and who is where."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.outlined import Outlined
from crm.models.profiles import Profile

LARGEST_RADIUS = 100_000  # metres


class Place(models.Model):
    """A circle on the map that people come into: a store, a pick-up point, an airport."""

    slug = models.SlugField(_("short name"), max_length=100, unique=True, allow_unicode=True)
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(
        _("kind"), max_length=50, default="store", help_text=_("Such as store, warehouse or airport.")
    )
    latitude = models.FloatField(_("latitude"), validators=[MinValueValidator(-90), MaxValueValidator(90)])
    longitude = models.FloatField(
        _("longitude"), validators=[MinValueValidator(-180), MaxValueValidator(180)]
    )
    radius = models.FloatField(
        _("radius (metres)"),
        default=150,
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_RADIUS)],
        help_text=_(
            "Who is nearer to the centre than this is there. Phones err by up to 100 metres indoors."
        ),
    )
    cooldown_minutes = models.PositiveIntegerField(
        _("quiet time (minutes)"),
        default=60,
        validators=[MaxValueValidator(525_600)],
        help_text=_("Who comes back sooner than this after they last came in does not enter anew."),
    )
    address = models.CharField(_("address"), max_length=500, blank=True, default="")
    active = models.BooleanField(_("active"), default=True)
    attributes = models.JSONField(_("attributes"), default=dict, db_default={}, blank=True)
    source = models.TextField(_("source"), blank=True, default="", editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("place")
        verbose_name_plural = _("places")
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["latitude", "longitude"], name="place_by_position")]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    latitude__range=(-90, 90),
                    longitude__range=(-180, 180),
                    radius__gt=0,
                    radius__lte=LARGEST_RADIUS,
                ),
                name="a_place_is_on_earth",
            )
        ]

    def __str__(self):
        return self.name


class PersonPlace(models.Model):
    """That a person is, or once was, at a place. `entered_at` is when they last came in."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    place = models.ForeignKey(Place, models.CASCADE, related_name="people")
    inside = models.BooleanField(_("there"))
    entered_at = models.DateTimeField(_("came in"))

    class Meta:
        verbose_name = _("person at a place")
        verbose_name_plural = _("people at places")
        constraints = [
            models.UniqueConstraint(fields=["profile", "place"], name="one_row_per_person_and_place")
        ]

    def __str__(self):
        return f"{self.profile_id} {self.place_id}"


class LastLocation(Outlined):
    """Where a person was when their device last told. Older tellings that come later change nothing."""

    contact_data: ClassVar = {"latitude": "", "longitude": ""}

    profile = models.OneToOneField(
        Profile, models.CASCADE, primary_key=True, related_name="last_location", verbose_name=_("person")
    )
    latitude = models.FloatField(_("latitude"))
    longitude = models.FloatField(_("longitude"))
    located_at = models.DateTimeField(_("when"))
    place = models.ForeignKey(
        Place,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("last place"),
        help_text=_("The place they came into last."),
    )

    class Meta:
        verbose_name = _("last location")
        verbose_name_plural = _("last locations")

    def __str__(self):
        return "•••" if self.latitude is None else f"{self.latitude:.5f}, {self.longitude:.5f}"
