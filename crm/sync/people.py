"""A CRM's contacts and leads become profiles, and their answers consents."""

from collections.abc import Collection, Sequence

from crm import consent, profiles
from crm.connectors.base import Record
from crm.models import Consent
from crm.normalise import Rejection
from crm.patches import Row
from crm.sync import gone, merges
from crm.sync.gone import SOURCE
from crm.sync.mapping import Translation, Translator
from crm.sync.roles import Batch, Item, Outcome


def prepare(batch: Batch, records: Sequence[Record]) -> int:
    """Follow the CRM's merges; see `merges`."""
    return merges.follow(batch.connection, batch.object, batch.kind, records, batch.now)


def store(batch: Batch, items: Sequence[Item]) -> list[Outcome]:
    """Create or change these people; see roles."""
    translate = Translator(batch.mapping)
    translations = [_translated(translate, item) for item in items]
    ours = frozenset(batch.mapping.ours)
    rows = [
        Row(batch.kind, item.record.id, translation.patch, ours)
        for item, translation in zip(items, translations, strict=True)
        if isinstance(translation, Translation)
    ]
    found, heirs = _upserted(batch, rows)
    results = iter(found)
    outcomes: list[Outcome] = []
    answered: list[tuple[Item, Translation, int]] = []
    first: list[consent.Change] = []
    for item, translation in zip(items, translations, strict=True):
        if isinstance(translation, Rejection):
            outcomes.append(Outcome("rejected", translation))
            continue
        result = next(results)
        if result.profile_id is None:
            rejection = Rejection(result.code, batch.mapping.source(result.field), result.detail)
            outcomes.append(Outcome("rejected", rejection))
            continue
        outcomes.append(Outcome(result.state, None, translation.empty, translation.consent))
        if result.state == profiles.CREATED and not heirs:
            first += [
                _change(item, result.profile_id, name, answer) for name, answer in translation.consent.items()
            ]
        elif translation.consent:
            answered.append((item, translation, result.profile_id))
    consent.record_first(first)
    _record(answered, heirs)
    return outcomes


def _upserted(batch: Batch, rows: Sequence[Row]) -> tuple[list[profiles.Outcome], set[str]]:
    """Store rows; an address that only a deleted record left behind does not stand in the way of its new owner.

    Returns also the ids of records that inherited such a profile.
    """
    source = f"{SOURCE}:{batch.connection.slug}"
    outcomes = list(profiles.upsert(rows, source, batch.now).outcomes)
    addresses = {
        rows[place].value: str(rows[place].patch.email)
        for place, outcome in enumerate(outcomes)
        if outcome.code == "email_taken"
    }
    heirs = merges.take_over(batch.connection, batch.object, batch.kind, addresses, batch.now)
    again = [place for place, row in enumerate(rows) if row.value in heirs]
    if again:
        second = profiles.upsert([rows[place] for place in again], source, batch.now).outcomes
        for place, outcome in zip(again, second, strict=True):
            outcomes[place] = outcome
    return outcomes, heirs


def _translated(translate: Translator, item: Item) -> Translation | Rejection:
    known = item.known
    try:
        return translate(item.record, known.empty if known and known.live else None)
    except Rejection as error:
        return error


def remove(batch: Batch, records: Sequence[Record]) -> None:
    """Forget these records, but not the people; see `gone`."""
    gone.remove(batch.connection, batch.object, batch.kind, records, batch.now)


def _record(answered: Sequence[tuple[Item, Translation, int]], heirs: Collection[str]) -> None:
    """Record answers that the CRM has changed or gives for the first time, or those of `heirs` of another's.

    A person's own no stays, whatever the CRM says. A first no of the CRM gives way to a later yes of
    the person. First answers are no events: an import is nothing that people did.
    """
    fresh = [
        (item, profile_id, name, answer)
        for item, translation, profile_id in answered
        for name, answer in translation.consent.items()
        if item.known is None or item.known.consent.get(name) is not answer or item.record.id in heirs
    ]
    if not fresh:
        return
    present = {
        (row.profile_id, f"{row.kind}:{row.key}"): row
        for row in Consent.objects.filter(profile_id__in={profile_id for _, profile_id, *_ in fresh})
    }
    first: list[consent.Change] = []
    changed: list[consent.Change] = []
    for item, profile_id, name, answer in fresh:
        held = present.get((profile_id, name))
        if held and held.source != SOURCE and (answer or held.state == Consent.State.UNSUBSCRIBED):
            continue
        change = _change(item, profile_id, name, answer)
        ended = item.record.id in heirs or (item.known and not item.known.live)
        if held and held.source == SOURCE and ended:
            # Back from the recycle bin, which touches no time, or in the place of who went there: what ended then is
            # answered anew.
            change.changed_at = max(change.changed_at, held.changed_at)
        known = item.known is not None and name in item.known.consent
        (changed if known else first).append(change)
    consent.record(first, events=False)
    consent.record(changed)


def _change(item: Item, profile_id: int, name: str, answer: bool) -> consent.Change:
    """The answer to the question `name`, given when the record was changed."""
    kind, _colon, key = name.partition(":")
    state = consent.SUBSCRIBED if answer else consent.UNSUBSCRIBED
    return consent.Change(profile_id, kind, key, state, SOURCE, item.record.modified_at)
