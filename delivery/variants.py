"""Which variant of a message a person gets: always the same one, however often and by whichever process it is asked.

A person stands at one of 10,000 places, by a hash of the message and the person; the variants that have words for
the channel divide the places by their weights, in the order of their letters. Nothing is stored, so weights can be
changed at any time: then people move at the borders only.
"""

from collections.abc import Mapping
from hashlib import sha256

PLACES = 10_000
FIRST = "a"  # the only variant of a message that has no others

# Where somebody stands; the same as `place`, for SQL. The first 4 bytes are enough: PLACES divides 2^32 nearly evenly.
PLACE_SQL = (
    "(('x' || left(encode(sha256(convert_to({message}::text || ':' || {profile}::text, 'UTF8')), 'hex'), 8))"
    f"::bit(32)::bigint & 4294967295) * {PLACES} / 4294967296"
)
# The places of each variant that can be sent by a channel; `messages` is a subquery of message ids.
SHARES_SQL = """
    SELECT message_id, channel, key, upto - weight AS low, upto,
        max(upto) OVER (PARTITION BY message_id, channel) AS total
    FROM (
        SELECT v.message_id, c.channel, v.key, v.weight,
            sum(v.weight) OVER (PARTITION BY v.message_id, c.channel ORDER BY v.key) AS upto
        FROM delivery_messagevariant v JOIN (
            SELECT DISTINCT message_id, channel, variant FROM delivery_messagecontent
        ) c ON c.message_id = v.message_id AND c.variant = v.key
        WHERE v.weight > 0 AND v.message_id IN ({messages})
    ) AS numbered
"""


def place(message_id: int, profile_id: int) -> int:
    """Return where somebody stands among the variants of a message, from 0 to 9,999."""
    digest = sha256(f"{message_id}:{profile_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") * PLACES // 2**32


def chosen(message_id: int, profile_id: int, weights: Mapping[str, int]) -> str:
    """Return the variant that somebody gets of those with these weights; "a" if there are none."""
    total, here, upto = sum(weights.values()), place(message_id, profile_id), 0
    for key in sorted(weights):
        upto += weights[key]
        if weights[key] and here * total < upto * PLACES:
            return key
    return FIRST


def shares(weights: Mapping[str, int]) -> dict[str, float]:
    """Return what part of the people, in percent, gets each variant."""
    total = sum(weights.values())
    return {key: 100 * weight / total if total else 0.0 for key, weight in weights.items()}


def join(message: str, profile: str, channel: str) -> str:
    """Return the SQL that joins the CTE `shares`, made of SHARES_SQL, to rows; nothing where there are no variants.

    Args:
        message, profile, channel: SQL expressions of the row.
    """
    place = PLACE_SQL.format(message=message, profile=profile)
    return (
        f"LEFT JOIN shares ON shares.message_id = {message} AND shares.channel = {channel}"
        f" AND {place} * shares.total >= shares.low * {PLACES} AND {place} * shares.total < shares.upto * {PLACES}"
    )
