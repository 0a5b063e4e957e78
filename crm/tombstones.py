"""The names of erased people, kept so that no file and no CRM brings them back.

Only keyed digests are kept (BLAKE2b with a key that is derived from the installation's encryption key): whoever has
the database alone can neither read a name nor try guesses. With several encryption keys every one recognises what it
made; taking away an old key takes away its digests' meaning, too.

The rule: who imports about others (a CRM, a file, the API by a server's key) is refused, code `erased`. Who acts for
themselves begins anew (`lift`): their browser identifies them, they sign up, or whoever calls the API or edits in the
admin says that they are back. Anonymous ids are not kept: a browser without a name is nobody.
"""

import functools
import hashlib
from collections.abc import Collection, Iterable

from django.conf import settings
from django.db import connection

from crm.models import ErasedName, Identifier

CODE = "erased"
KINDS = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE)
Name = tuple[str, str]

_some: set[str] = set()  # databases that are known to have erased people, so that nothing asks again


def _keys() -> tuple[bytes, ...]:
    return _derived(tuple(settings.NUDGE_ENCRYPTION_KEYS))


@functools.cache
def _derived(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(hashlib.blake2b(key.encode(), person=b"nudge-erased").digest()[:32] for key in keys)


def _digest(key: bytes, name: Name) -> bytes:
    kind, value = name
    return hashlib.blake2b(f"{kind}\0{value}".encode(), key=key, digest_size=32).digest()


def keep(profile_ids: Collection[int]) -> None:
    """Remember the names of people who are about to be erased, in the caller's transaction.

    A name that somebody who stays bears too, such as a family's email, is not kept: it would lock them out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH named AS (
                SELECT profile_id, kind, value FROM crm_identifier
                WHERE profile_id = ANY(%(ids)s) AND kind <> 'anonymous_id'
                UNION
                SELECT p.id, f.kind, f.value FROM crm_profile p, LATERAL (
                    VALUES ('email', p.email), ('phone', p.phone), ('external_id', p.external_id)) AS f (kind, value)
                WHERE p.id = ANY(%(ids)s) AND f.value <> ''
            )
            SELECT profile_id, kind, value FROM named n WHERE NOT EXISTS (
                SELECT FROM crm_profile o WHERE n.kind = 'email' AND o.email = n.value AND o.id <> ALL(%(ids)s)
            ) AND NOT EXISTS (
                SELECT FROM crm_profile o
                WHERE n.kind = 'external_id' AND o.external_id = n.value AND o.id <> ALL(%(ids)s)
            ) AND NOT EXISTS (
                SELECT FROM crm_profile o WHERE n.kind = 'phone' AND o.phone = n.value AND o.id <> ALL(%(ids)s)
            ) AND NOT EXISTS (
                SELECT FROM crm_identifier i
                WHERE i.kind = n.kind AND i.value = n.value AND i.profile_id <> ALL(%(ids)s)
            )
            """,
            {"ids": list(profile_ids)},
        )
        named = cursor.fetchall()
    key = _keys()[0]
    ErasedName.objects.bulk_create(
        [
            ErasedName(digest=_digest(key, (kind, value)), profile_id=profile_id)
            for profile_id, kind, value in named
        ],
        update_conflicts=True,
        unique_fields=["digest"],
        update_fields=["profile_id"],
    )


def erased(names: Iterable[Name]) -> set[Name]:
    """Those of these names that erased people bore; one query, and nothing is computed while nobody was erased.

    Args:
        names: (kind, value) as in Identifier, in normal form.
    """
    return set(_owners(names))


def _owners(names: Iterable[Name]) -> dict[Name, int]:
    alias = str(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        if alias not in _some:
            cursor.execute("SELECT EXISTS (SELECT FROM crm_erasedname)")
            if not cursor.fetchone()[0]:
                return {}
            _some.add(alias)
        wanted = {name for name in names if name[0] != Identifier.ANONYMOUS_ID and name[1]}
        if not wanted:
            return {}
        digests = {_digest(key, name): name for key in _keys() for name in wanted}
        cursor.execute(
            "SELECT digest, profile_id FROM crm_erasedname WHERE digest = ANY(%s)", [list(digests)]
        )
        return {digests[bytes(digest)]: profile_id for digest, profile_id in cursor.fetchall()}


def lift(names: Iterable[Name]) -> int:
    """Let the people who bore these names begin anew, under any of their names; return how many came back.

    To be called only when the person acted, or somebody vouches that they did. In the caller's transaction.
    """
    owners = set(_owners(names).values())
    if owners:
        ErasedName.objects.filter(profile_id__in=owners).delete()
    return len(owners)
