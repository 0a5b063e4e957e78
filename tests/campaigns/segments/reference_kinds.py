"""What the conditions beside fields, events and messages mean, as slowly and plainly as in reference.py."""

import hashlib
import math
from fractions import Fraction
from typing import Any

EARTH_KM = 6371.0088


def consent(rule: dict, person: Any) -> bool:
    key = ("channel", rule["channel"]) if "channel" in rule else ("topic", rule["topic"])
    return person.consents.get(key, "none") == rule["state"]


def reachable(rule: dict, person: Any) -> bool:
    """Web push and the remembering channel need a yes; inside the site only a no counts."""
    channel = rule["channel"]
    answer = person.consents.get(("channel", channel))
    if answer != "subscribed" and (channel != "inapp" or answer is not None):
        return False
    if channel == "webpush":
        addresses = [device.endpoint for device in person.devices if device.active and device.our_key]
    elif channel == "inapp":
        addresses = [str(person.pk)] if person.visited else []
    else:
        addresses = [person.columns["email"]] if person.columns.get("email") else []
    return any(
        (channel, address) not in person.suppressed and ("all", address) not in person.suppressed
        for address in addresses
    )


def near(rule: dict, person: Any) -> bool:
    latitude, longitude = person.columns.get("latitude"), person.columns.get("longitude")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return False
    angle = angle_between(direction(latitude, longitude), direction(rule["latitude"], rule["longitude"]))
    return angle * EARTH_KM <= rule["radius_km"]


def direction(latitude: float, longitude: float) -> tuple[float, float, float]:
    up, round_ = math.radians(latitude), math.radians(longitude)
    return math.cos(up) * math.cos(round_), math.cos(up) * math.sin(round_), math.sin(up)


def angle_between(one: tuple[float, float, float], two: tuple[float, float, float]) -> float:
    """From the chord, which is exact for small angles too."""
    return 2 * math.asin(min(1.0, math.dist(one, two) / 2))


def flow(rule: dict, person: Any) -> bool:
    states = person.runs.get(rule["flow"], [])
    if rule["state"] == "never":
        return not states
    return {"in": "active", "completed": "completed", "exited": "exited"}[rule["state"]] in states


def random(rule: dict, person: Any) -> bool:
    low, high = (Fraction(str(value)) for value in rule["percent"])
    return low <= Fraction(place(person.pk, rule.get("salt", "")) * 100, 2**32) < high


def place(number: int, salt: str) -> int:
    """The last 32 bits of Bob Jenkins' lookup3 of a small number, as hash_bytes_uint32_extended of PostgreSQL
    (src/common/hashfn.c) computes it from a seed of 64 bits."""
    seed = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
    start = wrap(0x9E3779B9 + 4 + 3923095)
    a, b, c = wrap(start + (seed >> 32)), wrap(start + seed), start
    for turn in ((4, 6, 8), (16, 19, 4)):
        a = wrap(a - c) ^ rotated(c, turn[0])
        c = wrap(c + b)
        b = wrap(b - a) ^ rotated(a, turn[1])
        a = wrap(a + c)
        c = wrap(c - b) ^ rotated(b, turn[2])
        b = wrap(b + a)
    a = wrap(a + number)
    c = wrap((c ^ b) - rotated(b, 14))
    a = wrap((a ^ c) - rotated(c, 11))
    b = wrap((b ^ a) - rotated(a, 25))
    c = wrap((c ^ b) - rotated(b, 16))
    a = wrap((a ^ c) - rotated(c, 4))
    b = wrap((b ^ a) - rotated(a, 14))
    return wrap((c ^ b) - rotated(b, 24))


def wrap(number: int) -> int:
    return number & 0xFFFFFFFF


def rotated(number: int, bits: int) -> int:
    return wrap(number << bits) | number >> 32 - bits


def listed(rule: dict, person: Any) -> bool:
    return rule["slug"] in person.lists
