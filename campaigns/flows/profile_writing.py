"""Writing what steps say into people's profiles: what a profile can't take is noted, and left as it was."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from campaigns.flows import values
from campaigns.flows.steps.base import Person
from campaigns.segments.suggestions import Suggestions
from crm import normalise, profiles
from crm.models import Profile

SOURCE = "flow"  # who told, in Profile.sources
ATTRIBUTE = "attributes."
# Names lead to people, and a property may come from any browser: a flow must not make somebody somebody else.
FIELDS = tuple(name for name in profiles.FIELDS if name not in profiles.NAMES)
DONE = "done"  # in the run's context: keys of steps that have added already


class Change(msgspec.Struct):
    """What one run writes, as `profiles.validate` takes it, and the facts: what is set, missing or refused and why."""

    data: dict[str, Any]
    facts: dict[str, Any]


def changes(settings: Mapping[str, Any], people: Sequence[Person], key: str) -> dict[int, Change]:
    """By run, what `write` would do; two queries at most.

    Of two runs of one person the second adds to what the first has made of a number.

    Args:
        settings: by field or "attributes.<name>": see campaigns.flows.values.
        key: the step's, by which a run that comes again adds nothing again.
    """
    known = values.known(people, settings.values())
    held = _held(settings, people)
    found = {}
    for person in people:
        data: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        for name, setting in settings.items():
            more = values.amount(setting)
            if more is None:
                value = values.resolve(setting, known[person.enrollment_id])
                if value is values.MISSING:
                    facts.setdefault("missing", []).append(name)
                else:
                    data[name] = value
            elif key in person.context.get(DONE, ()):
                facts.setdefault("already", []).append(name)
            else:
                numbers, attribute = held[person.profile_id], name.removeprefix(ATTRIBUTE)
                before = numbers.get(attribute)
                if _is_number(before):
                    data[name] = numbers[attribute] = _sum(before or 0, more)
                else:
                    facts.setdefault("refused", {})[name] = _("It holds no number to add to.")
        patch = _taken(data, facts)
        if data:
            facts["set"] = data
        found[person.enrollment_id] = Change(patch, facts)
    return found


def write(
    settings: Mapping[str, Any], people: Sequence[Person], key: str, now: datetime
) -> dict[int, dict[str, Any]]:
    """Write into the profiles, which the caller has locked; the facts by run."""
    wanted = changes(settings, people, key)
    writing = [person for person in people if wanted[person.enrollment_id].data]
    rows = [
        profiles.Row(
            profiles.ID, str(person.profile_id), profiles.validate(wanted[person.enrollment_id].data)
        )
        for person in writing
    ]
    for person, outcome in zip(writing, profiles.upsert(rows, SOURCE, now).outcomes, strict=True):
        if outcome.state == profiles.REJECTED:
            wanted[person.enrollment_id].facts = {"refused": {outcome.field: outcome.detail}}
    return {run: change.facts for run, change in wanted.items()}


def adds(settings: Mapping[str, Any]) -> bool:
    """Whether a number is added, which must happen once in a run."""
    return any(values.amount(setting) is not None for setting in settings.values())


def names() -> list[str]:
    """What may be written, as far as it is known from the data."""
    known = Suggestions().field_names()
    return [*FIELDS, *sorted(name for name in known if name.startswith(ATTRIBUTE))]


def problem(name: str, setting: Any) -> str:
    """Why this can't be written into any profile, in a sentence; empty if it can."""
    if name in profiles.NAMES:
        return _("People are found by it; a flow can't change it.")
    if name not in FIELDS and not (name.startswith(ATTRIBUTE) and name != ATTRIBUTE):
        return _("There is no such field; own ones begin with “attributes.”.")
    if wrong := values.problem(setting, adding=name.startswith(ATTRIBUTE)):
        return wrong
    try:
        profiles.validate(_patch({name: None if isinstance(setting, dict) else setting}))
    except normalise.Rejection as error:
        return error.detail
    return ""


def _held(settings: Mapping[str, Any], people: Sequence[Person]) -> dict[int, dict[str, Any]]:
    """The attributes that numbers are added to."""
    if not adds(settings):
        return {}
    ids = {person.profile_id for person in people}
    found = dict(Profile.objects.filter(pk__in=ids).values_list("pk", "attributes"))
    return {profile_id: dict(found.get(profile_id) or {}) for profile_id in ids}


def _patch(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields and attributes as profiles are told them."""
    attributes = {
        name.removeprefix(ATTRIBUTE): value for name, value in data.items() if name.startswith(ATTRIBUTE)
    }
    fields = {name: value for name, value in data.items() if not name.startswith(ATTRIBUTE)}
    return {**fields, **({"attributes": attributes} if attributes else {})}


def _taken(data: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """What a profile can take of `data`, for `profiles.validate`; the rest goes out of it and into the facts."""
    while data:
        patch = _patch(data)
        try:
            profiles.validate(patch)
        except normalise.Rejection as error:
            name = error.field if error.field in data else next(iter(data))
            del data[name]
            facts.setdefault("refused", {})[name] = error.detail
        else:
            return patch
    return {}


def _is_number(value: Any) -> bool:
    """Whether something can be added to it; to nothing, too."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _sum(one: float, other: float) -> int | float:
    """Exact for decimals as people write them: 0.1 + 0.2 is 0.3."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return float(Decimal(str(one)) + Decimal(str(other)))
