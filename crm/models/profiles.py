"""Customers and the names by which we know them."""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Now, Upper
from django.utils.translation import gettext_lazy as _

from crm import masking
from crm.models.outlined import Outlined


class Profile(Outlined):
    """One customer or one anonymous visitor."""

    contact_data = {
        "external_id": "external_id",
        "email": "email",
        "phone": "phone",
        "last_name": "initial",
        "latitude": "",
        "longitude": "",
        "birthday": "",
        "attributes": "data",
    }

    external_id = models.TextField(_("customer number"), null=True, blank=True)
    email = models.TextField(_("email"), null=True, blank=True)
    phone = models.TextField(_("phone"), null=True, blank=True)
    first_name = models.TextField(_("first name"), null=True, blank=True)
    last_name = models.TextField(_("last name"), null=True, blank=True)
    language = models.TextField(_("language"), null=True, blank=True, help_text=_("Such as en, ar or pl."))
    timezone = models.TextField(_("time zone"), null=True, blank=True, help_text=_("Such as Europe/Warsaw."))
    country = models.TextField(_("country"), null=True, blank=True, help_text=_("Two letters, such as PL."))
    city = models.TextField(_("city"), null=True, blank=True)
    latitude = models.FloatField(_("latitude"), null=True, blank=True)
    longitude = models.FloatField(_("longitude"), null=True, blank=True)
    birthday = models.DateField(_("birthday"), null=True, blank=True)
    lifecycle_stage = models.TextField(_("lifecycle stage"), null=True, blank=True)
    attributes = models.JSONField(_("attributes"), default=dict, db_default={}, blank=True)
    # field or "attributes.<name>" -> [who told it last, when]
    sources = models.JSONField(_("sources"), default=dict, db_default={}, blank=True, editable=False)
    first_seen = models.DateTimeField(_("first seen"), null=True, blank=True)
    last_seen = models.DateTimeField(_("last seen"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")
        permissions = [
            ("export_profile", _("Can export profiles")),
            ("view_contact_data", _("Can see emails, phones and other contact data")),
            ("export_person", _("Can export all that is known about one person")),
            ("erase_profile", _("Can erase a person")),
        ]
        indexes = [
            models.Index(fields=["country"], name="profile_by_country"),
            models.Index(fields=["email"], name="profile_by_email"),
            models.Index(fields=["external_id"], name="profile_by_external_id"),
            models.Index(fields=["phone"], condition=models.Q(phone__isnull=False), name="profile_by_phone"),
            models.Index(fields=["updated_at", "id"], name="profile_by_change"),
            # For who is near a place: an area of the earth is read from this index alone.
            models.Index(
                fields=["latitude", "longitude"],
                include=["id"],
                condition=models.Q(latitude__isnull=False),
                name="profile_by_place",
            ),
            GinIndex(fields=["attributes"], opclasses=["jsonb_path_ops"], name="profile_by_attributes"),
            # Django's icontains compares UPPER(column), so that is what the trigram index has to hold.
            *(
                GinIndex(OpClass(Upper(field), name="gin_trgm_ops"), name=f"profile_search_{field}")
                for field in ("email", "first_name", "last_name")
            ),
        ]

    def __str__(self):
        return self.display_name

    @property
    def display_name(self) -> str:
        """The best name we have for this person, as far as the present reader may see it."""
        if masking.hidden():
            name = masking.name(self.first_name, self.last_name)
            return name or self.email or self.phone or str(_("Visitor %d") % self.pk)
        name = " ".join(part for part in (self.first_name, self.last_name) if part)
        return name or self.email or self.phone or self.external_id or str(_("Visitor %d") % self.pk)


class Identifier(Outlined):
    """One name of one profile: an external id, email, phone, anonymous id or the record id in a CRM.

    `kind` is one of EXTERNAL_ID, EMAIL, PHONE, ANONYMOUS_ID or, for a CRM record,
    "<connection slug>:<object>".
    """

    contact_data = {"value": "identifier"}

    EXTERNAL_ID, EMAIL, PHONE, ANONYMOUS_ID = "external_id", "email", "phone", "anonymous_id"

    kind = models.TextField(_("kind"))
    value = models.TextField(_("value"))
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="identifiers")
    verified = models.BooleanField(
        _("proven"),
        default=False,
        db_default=False,
        help_text=_("A server, a CRM or a proof told it, and not only a browser."),
    )
    created_at = models.DateTimeField(_("since"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("identifier")
        verbose_name_plural = _("identifiers")
        constraints = [
            models.UniqueConstraint(fields=["kind", "value"], name="an_identifier_names_one_profile")
        ]

    def __str__(self):
        return f"{self.kind} {self.value}"


class ProfileMerge(Outlined):
    """One profile that was folded into another, with what is needed to tell them apart again.

    `moved` says what moved: {table: [row numbers]}, and more under keys of crm/merging.py; None: nobody wrote it down.
    """

    contact_data = {"snapshot": "data"}

    loser_id = models.BigIntegerField(_("merged profile"), db_index=True)
    winner = models.ForeignKey(Profile, models.CASCADE, related_name="merges", verbose_name=_("into"))
    reason = models.TextField(_("reason"))
    snapshot = models.JSONField(_("the merged profile as it was"))
    moved = models.JSONField(_("what moved"), null=True, editable=False)
    merged_at = models.DateTimeField(_("merged"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("merge")
        verbose_name_plural = _("merges")
        permissions = [("merge_profile", _("Can join profiles and part them again"))]
