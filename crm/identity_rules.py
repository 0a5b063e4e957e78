"""In which order names lead to people, and what each of them needs for that.

The rules are read once by each process; whoever asks the database about names asks for their version in the same
query, and reads them again when it is another one.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import transaction

from crm.models import Identifier, IdentityRules
from crm.models.identity import CRM_ID, default_order

Name = tuple[str, str]  # an Identifier's kind and value
Match, Visitors = IdentityRules.Match, IdentityRules.Visitors
KINDS = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE)

# To be put beside rows of (kind, value, profile_id, verified): one row (VERSION, '', version, false), or none.
VERSION = ":version"
ASK_VERSION = f"SELECT '{VERSION}', '', version::bigint, false FROM crm_identityrules"

CLAIMED = "claimed:"  # how an anonymous id begins that stands for what somebody claimed and nobody proved


class Rules(msgspec.Struct, frozen=True):
    """What IdentityRules says. `order` holds the known kinds and CRM_ID, the surest first.

    `strict`: kinds that find a person only where they are proven; an unproven one gives way to a proven one.
    `open`: kinds that find a person whoever names them, and anonymous ids. `natural`: the order is the usual one.
    """

    version: int
    order: tuple[str, ...]
    matches: dict[str, str]
    visitors_need_proof: bool
    strict: frozenset[str]
    open: frozenset[str]
    natural: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The known kinds in their order."""
        return tuple(kind for kind in self.order if kind != CRM_ID)

    def finding(self, names: Sequence[Name], proven: bool) -> list[Name]:
        """Those of the names of one reference that may lead to a person, the surest first, anonymous ids last.

        Args:
            names: in the order of KINDS, an anonymous id last.
        """
        if self.natural and all(kind in self.open for kind, _value in names):
            return list(names)
        alone = sum(kind in self.matches for kind, _value in names) == 1
        usable = [name for name in names if self.finds(name[0], proven, alone)]
        return sorted(usable, key=lambda name: self.rank(name[0]))

    def finds(self, kind: str, proven: bool, alone: bool) -> bool:
        """Whether a name of this kind leads to a person.

        Args:
            alone: no other known name is given.
        """
        match = self.matches.get(kind, Match.ANY)
        return match == Match.ANY or (match == Match.PROVEN and proven) or (match == Match.ALONE and alone)

    def rank(self, kind: str) -> int:
        """The place of a kind in the order."""
        return self.order.index(kind) if kind in self.order else len(self.order)


def _rules(row: IdentityRules | None) -> Rules:
    row = row or IdentityRules(version=0)
    order = [kind for kind in row.order if kind in default_order()]
    order += [kind for kind in default_order() if kind not in order]
    matches = {kind: str(getattr(row, kind)) for kind in KINDS}
    return Rules(
        version=row.version,
        order=tuple(order),
        matches=matches,
        visitors_need_proof=row.visitors == Visitors.PROOF,
        strict=frozenset(kind for kind in KINDS if matches[kind] == Match.PROVEN),
        open=frozenset({Identifier.ANONYMOUS_ID, *(kind for kind in KINDS if matches[kind] == Match.ANY)}),
        natural=tuple(kind for kind in order if kind != CRM_ID) == KINDS,
    )


_held: list[Rules] = []


def held() -> Rules:
    """The rules as this process knows them; they may be older than those in the database."""
    if not _held:
        return renew()
    return _held[0]


def renew() -> Rules:
    """Read the rules again."""
    _held[:] = [_rules(IdentityRules.objects.first())]
    return _held[0]


@transaction.atomic
def change(**values: Any) -> IdentityRules:
    """Set fields of the rules. All processes follow with their next batch."""
    row = IdentityRules.objects.select_for_update().first() or IdentityRules(version=0)
    for name, value in values.items():
        setattr(row, name, value)
    row.version += 1
    row.save()
    return row


def shadow(names: Sequence[Name]) -> Name:
    """The anonymous id under which claims are collected that may not lead to a person.

    What is told under such names is kept, on an anonymous profile of its own, until somebody proves them.
    """
    told = "\0".join(f"{kind}\0{value}" for kind, value in names)
    return Identifier.ANONYMOUS_ID, CLAIMED + hashlib.sha256(told.encode()).hexdigest()[:32]
