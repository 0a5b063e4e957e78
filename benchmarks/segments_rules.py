"""The six typical questions, as rules and as the best SQL that we know for them; and fifty segments for the refreshes.

The hand-written forms are those that won a comparison: set operations on ids, index-only scans, no IN under OR.
They may know what rules cannot say: that `plan` lies at the top of the attributes, that everybody has a country.
"""

from typing import Any, NamedTuple

JSON = dict[str, Any]


class Question(NamedTuple):
    """A rule beside SQL for the same people; `%(now)s` is the moment of both."""

    name: str
    rule: JSON
    by_hand: str


def _event(name: str, days: float = 0, hours: int = 0, **more: Any) -> JSON:
    window = {"days": days} if days else {"hours": hours}
    return {"kind": "event", "name": name, **({"within": {"last": window}} if days or hours else {}), **more}


_GOLD: JSON = {
    "all": [
        {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
        {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "gold"},
    ]
}
_GERMAN: JSON = {
    "all": [
        {"kind": "attribute", "field": "country", "op": "in", "value": ["DE", "US"]},
        {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "platinum"},
    ]
}
_BOUGHT = _event("purchased", days=30)
_SILENT = _event("message_opened", days=90, count={"op": "eq", "value": 0})
_LEFT = _event("cart_updated", hours=24, not_followed_by={"name": "purchased"})
_FANS: JSON = {
    **_event("purchased", days=90, count={"op": "gte", "value": 3}),
    "where": [{"property": "category", "op": "eq", "value": "c3"}],
    "aggregate": {"fn": "sum", "property": "amount", "op": "gt", "value": 100},
}
_NESTED: JSON = {"all": [{"any": [_GOLD, _GERMAN, _BOUGHT]}, _SILENT, {"not": _LEFT}]}

_S1 = """SELECT id FROM crm_profile WHERE country = 'PL' AND attributes @> '{"plan": "gold"}'"""
_S2 = (
    "SELECT DISTINCT profile_id FROM crm_event WHERE name = 'purchased'"
    " AND occurred_at >= %(now)s - interval '30 days' AND occurred_at <= %(now)s"
)
_OPENED = (
    "SELECT profile_id FROM crm_event WHERE name = 'message_opened'"
    " AND occurred_at >= %(now)s - interval '90 days' AND occurred_at <= %(now)s"
)
_S4 = (
    "SELECT DISTINCT c.profile_id FROM crm_event c WHERE c.name = 'cart_updated'"
    " AND c.occurred_at >= %(now)s - interval '24 hours' AND c.occurred_at <= %(now)s"
    " AND NOT EXISTS (SELECT FROM crm_event b WHERE b.profile_id = c.profile_id AND b.name = 'purchased'"
    " AND b.occurred_at > c.occurred_at AND b.occurred_at > %(now)s - interval '24 hours')"
)

QUESTIONS = [
    Question("S1 country and attribute", _GOLD, _S1),
    Question("S2 bought in 30 days", _BOUGHT, _S2),
    Question(
        "S3 opened nothing in 90 days",
        _SILENT,
        f"SELECT p.id FROM crm_profile p WHERE NOT EXISTS (SELECT FROM ({_OPENED}) AS o WHERE o.profile_id = p.id)",
    ),
    Question("S4 cart in 24 h, not bought since", _LEFT, _S4),
    Question(
        "S5 3 purchases of a category, over 100 in all",
        _FANS,
        "SELECT profile_id FROM crm_event WHERE name = 'purchased' AND occurred_at >= %(now)s - interval '90 days'"
        " AND occurred_at <= %(now)s AND properties ->> 'category' = 'c3' GROUP BY profile_id"
        " HAVING count(*) >= 3 AND sum((properties ->> 'amount')::numeric) > 100",
    ),
    Question(
        "S6 nested",
        _NESTED,
        f"""(({_S1}) UNION (SELECT id FROM crm_profile WHERE country IN ('DE', 'US')
            AND attributes @> '{{"plan": "platinum"}}') UNION ({_S2})) EXCEPT ({_OPENED}) EXCEPT ({_S4})""",
    ),
]


def fifty() -> list[tuple[str, JSON]]:
    """Names and rules of 50 segments as a shop has them: the six, and variations of windows, names and fields."""
    found = [(question.name, question.rule) for question in QUESTIONS]
    plans, countries = ("free", "basic", "gold", "platinum"), ("PL", "SA", "DE", "US", "GB")
    for number, country in enumerate(countries):
        for plan in plans[number % 2 :: 2]:
            own = {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": plan}
            place = {"kind": "attribute", "field": "country", "op": "eq", "value": country}
            found.append((f"{country} {plan}", {"all": [place, own]}))
    for name in ("purchased", "product_viewed", "searched", "wishlist_added", "coupon_used", "store_visited"):
        for days in (7, 30, 60):
            found.append((f"{name} in {days} days", _event(name, days=days)))
    for days in (30, 60, 180):
        found.append(
            (f"no purchase in {days} days", _event("purchased", days=days, count={"op": "eq", "value": 0}))
        )
        found.append((f"VIP in {days} days", _event("purchased", days=days, count={"op": "gte", "value": 4})))
    for number in range(4):
        where = [{"property": "category", "op": "eq", "value": f"c{number}"}]
        found.append((f"looked at c{number}", _event("product_viewed", days=14, where=where)))
    found.append(
        ("left a cart in 2 days", _event("cart_updated", hours=48, not_followed_by={"name": "purchased"}))
    )
    found.append(("birthday", _attribute("birthday", "anniversary_within", 7)))
    found.append(("new", _attribute("first_seen", "within_last", {"days": 14})))
    found.append(("seen lately", _attribute("last_seen", "within_last", {"days": 7})))
    found.append(("many points", _attribute("attributes.points", "gte", 900)))
    found.append(("newsletter", _attribute("attributes.newsletter", "eq", True)))
    return found[:50]


def _attribute(field: str, op: str, value: Any) -> JSON:
    return {"kind": "attribute", "field": field, "op": op, "value": value}
