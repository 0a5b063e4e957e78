"""What delivery listens to."""

from typing import Any

from django.db import connection

from crm import signals


def connect() -> None:
    """Called once when the app is ready."""
    signals.profiles_merging.connect(move_deliveries, dispatch_uid="delivery.move_deliveries")


def move_deliveries(pairs: list[tuple[int, int]], **kwargs: Any) -> None:
    """Give merged profiles' deliveries to the profiles they were merged into, in the merge's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE delivery_delivery d SET profile_id = merged.winner
            FROM unnest(%s::bigint[], %s::bigint[]) AS merged(loser, winner)
            WHERE d.profile_id = merged.loser
            """,
            [[loser for loser, _winner in pairs], [winner for _loser, winner in pairs]],
        )
