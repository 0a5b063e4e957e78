"""Experiments at the moment of sending: where people stand in them, and telling the log who came into which arm.

Nobody is assigned beforehand. Where somebody stands follows from the experiment and the person alone, so every
process comes to the same answer at any time, and two experiments divide people independently of each other. People
count in an experiment from the moment at which it makes a difference to them, whichever arm they are in, and stay in
that arm however the shares of the arms change.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256

import msgspec
from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, connection, transaction

from crm import alerts, log
from delivery.models import Delivery
from delivery.models import Exposure as Kept
from delivery.variants import PLACES

logger = logging.getLogger(__name__)

EVENT = "experiment_exposed"
BROKEN = "delivery:exposures"  # what the alert is kept under
HELD_OUT, TREATED = "held_out", "treated"  # the arms of a holdout

_CLAIM = """
    INSERT INTO delivery_exposure (experiment, profile_id, arm, at)
    SELECT DISTINCT ON (r.experiment, r.profile_id) r.experiment, r.profile_id, r.arm, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(experiment text, profile_id bigint, arm text)
    ORDER BY r.experiment, r.profile_id  -- one order for all who write at once
    ON CONFLICT DO NOTHING RETURNING experiment, profile_id, arm
"""


class Exposure(msgspec.Struct, frozen=True):
    """Somebody is treated as an arm of an experiment says."""

    experiment: str
    profile_id: int
    arm: str


Source = Callable[[Sequence[Delivery]], Iterable[Exposure]]
Keeper = Callable[[Sequence[Delivery]], Mapping[int, str]]

_sources: list[Source] = []
_keepers: list[Keeper] = []


def register(source: Source) -> Source:
    """Add a batch function: it gets deliveries that are about to be sent and tells what experiments they are part of.

    It runs inside the transaction that claims the batch, so it must be quick and use a fixed number of queries.
    """
    if source not in _sources:
        _sources.append(source)
    return source


def register_keeper(keeper: Keeper) -> Keeper:
    """Add a batch function that tells by delivery id which variant somebody is to get because of an experiment.

    As `register`: asked just before the text is filled in, of what may be sent.
    """
    if keeper not in _keepers:
        _keepers.append(keeper)
    return keeper


def place(experiment: str, profile_id: int) -> int:
    """Return where somebody stands in an experiment, from 0 to 9,999."""
    digest = sha256(f"{experiment}:{profile_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") * PLACES // 2**32


def held_out(experiment: str, profile_id: int, percent: float) -> bool:
    """Whether somebody belongs to the holdout of so many percent; a larger one has the smaller one's people in it."""
    return place(experiment, profile_id) < percent * PLACES / 100


def keep(deliveries: Sequence[Delivery]) -> None:
    """Give those of these deliveries, which may be sent, the variant of the arm that their person is in.

    Where that can't be told they keep the variant that they have.

    Raises:
        django.db.Error: the database is at fault; all of it is to be done again.
    """
    asked = {each.pk: each for each in deliveries if each.origin_type != Delivery.Origin.TEST}
    try:
        for keeper in _keepers if asked else ():
            for pk, variant in keeper(list(asked.values())).items():
                asked[pk].variant = variant
    except DatabaseFault:
        raise
    except Exception as error:
        missed(error)


def sending(deliveries: Sequence[Delivery], now: datetime) -> int:
    """Record what experiments these deliveries, which are about to be sent, are part of."""
    told = [each for each in deliveries if each.origin_type != Delivery.Origin.TEST]
    return tell(lambda: [each for source in _sources for each in source(told)], now) if told else 0


def tell(found: Callable[[], Sequence[Exposure]], now: datetime) -> int:
    """As `record`, of what `found` returns; where that fails nobody is counted, and what is being done goes on.

    Raises:
        django.db.Error: `found` could not ask the database, or that is at fault; all of it is to be done again.
    """
    try:
        exposed = found()
        if not exposed:
            return 0
    except DatabaseFault:  # the transaction is lost
        raise
    except Exception as error:
        return missed(error)
    try:
        with transaction.atomic():
            return record(exposed, now)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        return missed(error)


def missed(error: Exception) -> int:
    """Tell that people can't be counted; always nobody."""
    logger.error("Who came into which experiment can't be recorded", exc_info=error)
    alerts.raise_alert(
        BROKEN,
        "Experiments and holdouts miss people",
        f"Who came into which arm could not be recorded, with {type(error).__name__}; the log has the details. "
        "Messages go out all the same.",
    )
    return 0


def arms(experiments: Iterable[str], profile_ids: Iterable[int]) -> dict[tuple[str, int], str]:
    """The arms that people came into before, by experiment and person; one query, none without either."""
    names, people = list(experiments), list(profile_ids)
    if not names or not people:
        return {}
    rows = Kept.objects.filter(experiment__in=names, profile_id__in=people)
    return {(name, person): arm for name, person, arm in rows.values_list("experiment", "profile_id", "arm")}


def record(exposures: Sequence[Exposure], now: datetime) -> int:
    """Tell the log about those who are new in their experiment, in the caller's transaction; return how many are.

    Two statements, none without exposures. Where somebody comes into another arm later, the first one stands.
    """
    if not exposures:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "rows": msgspec.json.encode(exposures).decode()})
        new = cursor.fetchall()
    log.append(
        [
            log.NewEvent(
                id=log.event_id(EVENT, experiment, profile_id),
                profile_id=profile_id,
                name=EVENT,
                occurred_at=now,
                properties={"experiment": experiment, "arm": arm},
                source="nudge",
            )
            for experiment, profile_id, arm in new
        ]
    )
    return len(new)
