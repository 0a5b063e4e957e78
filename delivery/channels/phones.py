"""What channels that write to phone numbers have in common."""

from collections.abc import Collection

from crm.models import Profile
from crm.rules.sql import Sql
from delivery.channels.base import Address
from delivery.channels.provided import ProvidedChannel


class PhoneChannel(ProvidedChannel):
    """Reaches everybody with a phone number, which profiles keep in E.164 form."""

    address_fields = ("phone",)

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return each person's phone number."""
        rows = Profile.objects.filter(pk__in=profile_ids, phone__isnull=False).values_list("pk", "phone")
        return {profile_id: [Address(phone)] for profile_id, phone in rows if phone}

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return Sql("SELECT id AS profile_id, phone AS value FROM crm_profile WHERE phone <> ''")
