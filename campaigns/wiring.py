"""Connects the campaigns layer to what the layers below announce."""

from django.db import connection


def connect() -> None:
    """Called once when Django is ready."""
    from campaigns.flows import guards as flow_guards
    from campaigns.flows import steps
    from crm import signals
    from delivery.policies.guards import register

    steps.load()
    signals.events_recorded.connect(wake_engine, dispatch_uid="campaigns.wake_engine")
    signals.profiles_merging.connect(move_people, dispatch_uid="campaigns.move_people")
    register(flow_guards.exit_events)


def wake_engine(names: set[str], **kwargs: object) -> None:
    """Something was stored in the log: let the engine look. Called after commit."""
    from crm import wake

    wake.on_commit("campaigns.tasks.run_engine", "engine")


def move_people(pairs: list[tuple[int, int]], **kwargs: object) -> None:
    """Re-point enrollments, decisions and memberships of merged profiles; of two equal ones the winner's stays."""
    values = {"losers": [loser for loser, _ in pairs], "winners": [winner for _, winner in pairs]}
    pairs_sql = "unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)"
    # Of several losers with equal rows the first row goes to the winner.
    rivals = (
        "o.profile_id = m.winner OR (o.id < t.id AND o.profile_id IN (SELECT r.loser FROM "
        "unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS r(loser, winner) WHERE r.winner = m.winner))"
    )
    with connection.cursor() as cursor:
        for table, same in (
            ("campaigns_enrollment", "o.flow_id = t.flow_id AND o.run_key = t.run_key"),
            ("campaigns_segmentmembership", "o.segment_id = t.segment_id"),
        ):
            cursor.execute(
                f"UPDATE {table} t SET profile_id = m.winner FROM {pairs_sql} WHERE t.profile_id = m.loser "
                f"AND NOT EXISTS (SELECT 1 FROM {table} o WHERE {same} AND ({rivals}))",
                values,
            )
        # What stays with the loser goes with it; its decisions remain as the winner's history.
        cursor.execute(
            f"UPDATE campaigns_decision d SET profile_id = m.winner, enrollment_id = CASE WHEN e.profile_id = m.loser "
            f"THEN NULL ELSE d.enrollment_id END FROM {pairs_sql}, campaigns_decision o "
            f"LEFT JOIN campaigns_enrollment e ON e.id = o.enrollment_id "
            f"WHERE o.id = d.id AND d.profile_id = m.loser",
            values,
        )
