"""What becomes of two profiles if one is merged into the other, before anybody decides it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from django.db.models import Count
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from crm import combining, masking
from crm.models import Consent, Device, Event, Identifier, Profile
from crm.patches import FIELDS, NAMES


class Line(msgspec.Struct):
    """How much of something each profile has."""

    label: str
    counts: dict[int, int]


class Fact(msgspec.Struct):
    """One field or answer of the two, and what it is afterwards."""

    label: str
    loser: Any
    winner: Any
    after: Any
    kind: str = "text"

    @property
    def differs(self) -> bool:
        """Whether something is given up."""
        return self.kind not in NAMES and self.loser not in (None, "", self.after)  # names move


class Preview(msgspec.Struct):
    """Two profiles side by side. `names` are both profiles' (profile id, kind, value, verified)."""

    loser: Profile
    winner: Profile
    names: list[tuple[int, str, str, bool]]
    facts: list[Fact]
    answers: list[Fact]
    lines: list[Line]


# Of layers above: how much of theirs these profiles have.
_counters: list[Callable[[Sequence[int]], list[Line]]] = []


def register(counter: Callable[[Sequence[int]], list[Line]]) -> None:
    """Add a function that counts what these two profiles have in another layer."""
    if counter not in _counters:
        _counters.append(counter)


def counted(label: str, rows: Any) -> Line:
    """A line from a queryset of rows with a `profile_id`."""
    counts = rows.order_by().values_list("profile_id").annotate(n=Count("pk"))
    return Line(label, dict(counts))


def preview(loser_id: int, winner_id: int) -> Preview:
    """What merging the one into the other would do.

    Raises:
        Profile.DoesNotExist: one of them is not there.
    """
    both = [loser_id, winner_id]
    loser, winner = Profile.objects.get(pk=loser_id), Profile.objects.get(pk=winner_id)
    names = Identifier.objects.filter(profile_id__in=both).order_by("kind", "value")
    lines = [
        counted(_("Events"), Event.objects.filter(profile_id__in=both)),
        counted(_("Devices"), Device.objects.filter(profile_id__in=both)),
    ]
    for counter in _counters:
        lines += counter(both)
    return Preview(
        loser,
        winner,
        list(names.values_list("profile_id", "kind", "value", "verified")),
        _facts(loser, winner),
        _answers(loser, winner),
        [line for line in lines if line.counts],
    )


def _facts(loser: Profile, winner: Profile) -> list[Fact]:
    labels = {field.name: str(field.verbose_name) for field in Profile._meta.fields}
    facts = [
        _fact(
            capfirst(labels[name]),
            getattr(loser, name),
            getattr(winner, name),
            name if name in NAMES else "text",
        )
        for name in FIELDS
    ]
    facts += [
        _fact(name, loser.attributes.get(name), winner.attributes.get(name), "data")
        for name in sorted({*loser.attributes, *winner.attributes})
    ]
    return [fact for fact in facts if fact.after is not None]


def _fact(label: str, theirs: Any, ours: Any, kind: str) -> Fact:
    return Fact(label, theirs, ours, theirs if ours is None else ours, kind)


def _answers(loser: Profile, winner: Profile) -> list[Fact]:
    """Which answer counts of each question that one of them was asked."""
    words = dict(Consent.State.choices)
    held: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    rows = Consent.objects.filter(profile__in=[winner, loser])
    for row in rows.values("profile_id", "kind", "key", "state", "source", "changed_at"):
        asked = held.setdefault((row["kind"], row["key"]), {})
        asked[row["profile_id"]] = {**row, "changed_at": row["changed_at"].isoformat()}
    facts = []
    for (_kind, key), asked in sorted(held.items()):
        both = [asked[profile.pk] for profile in (winner, loser) if profile.pk in asked]
        after = combining.consent(both) if len(both) > 1 else both[0]
        said = {pk: words.get(row["state"], row["state"]) for pk, row in asked.items()}
        facts.append(
            Fact(key, said.get(loser.pk), said.get(winner.pk), words.get(after["state"], after["state"]))
        )
    return facts


def shown(fact: Fact) -> tuple[str, Any, Any, Any]:
    """The fact as the reader may see it."""
    values = [masking.contact(fact.kind, value) for value in (fact.loser, fact.winner, fact.after)]
    return fact.label, *values
