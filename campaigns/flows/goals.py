"""What a flow is for: what reaching its goal is worth."""

from typing import Any

LARGEST = 10**12  # of what an event may add to the revenue


def value(path: str, properties: dict[str, Any]) -> float | int | None:
    """What an event adds to the revenue by the property at `path`; None if that is no number."""
    found: Any = properties
    for part in path.split(".") if path else ():
        found = found.get(part) if isinstance(found, dict) else None
    if not path or isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if abs(found) < LARGEST else None
