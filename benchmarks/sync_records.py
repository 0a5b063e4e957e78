"""Contacts as a connector delivers them, made of the sandbox's people; equal arguments give equal records."""

from collections.abc import Iterator
from itertools import islice

from crm.connectors.base import Page, Record
from crm.sandbox.people import Person, people

PAGE = 200  # records, as HubSpot's search gives them
FIELDS = {
    "email": "email",
    "phone": "phone",
    "firstname": "first_name",
    "lastname": "last_name",
    "hs_language": "language",
    "hs_timezone": "timezone",
    "country": "country",
    "city": "city",
    "date_of_birth": "birthday",
    "lifecyclestage": "lifecycle_stage",
    "company": "attributes.company",
    "jobtitle": "attributes.job_title",
    "loyalty_points": "attributes.loyalty_points",
    "plan": "attributes.plan",
    "favourite_category": "attributes.favourite_category",
}
CONSENT = {
    "webpush_opt_in": {"kind": "channel", "key": "webpush"},
    "newsletter_opt_in": {"kind": "topic", "key": "newsletter"},
}


def groups(contacts: int, size: int, seed: int = 1) -> Iterator[list[Page]]:
    """Pages of contacts in groups of `size` records, each group made when it is asked for."""
    found = enumerate(people(contacts, seed), 1)
    while records := [_record(number, person) for number, person in islice(found, size)]:
        yield [
            Page("contacts", records[start : start + PAGE], {"after": records[start].id}, current=True)
            for start in range(0, len(records), PAGE)
        ]


def _record(number: int, person: Person) -> Record:
    return Record(
        str(number),
        person.modified,
        {
            "email": person.email or None,
            "phone": person.phone or None,
            "firstname": person.first_name,
            "lastname": person.last_name,
            "hs_language": person.language,
            "hs_timezone": person.timezone.lower().replace("/", "_slash_"),
            "country": person.country,
            "city": person.city,
            "date_of_birth": person.birthday or None,
            "lifecyclestage": person.lifecycle_stage,
            "company": person.company or None,
            "jobtitle": person.job_title or None,
            "loyalty_points": person.loyalty_points,
            "plan": person.plan,
            "favourite_category": person.favourite_category or None,
            "webpush_opt_in": person.webpush_opt_in,
            "newsletter_opt_in": person.newsletter_opt_in,
        },
    )
