"""Who people are by now: readers of the log hold events of profiles that may have been merged since."""

from collections.abc import Collection

from django.db import connection

from crm import pg
from crm.privacy import present


def hold(profile_ids: Collection[int]) -> dict[int, int]:
    """The profiles that these are now, after merges; without those that no longer exist.

    Until the caller's transaction ends they are neither merged nor deleted, so rows may be written about them.
    """
    found: dict[int, int] = {}
    wanted = {profile_id: profile_id for profile_id in profile_ids}
    while wanted:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM crm_profile WHERE id = ANY(%s::bigint[]) ORDER BY id FOR KEY SHARE",
                [pg.number_array(set(wanted.values()))],
            )
            there = {row[0] for row in cursor.fetchall()}
        found |= {was: now for was, now in wanted.items() if now in there}
        wanted = present([was for was, now in wanted.items() if now not in there])
    return found
