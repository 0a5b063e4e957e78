"""Believable people, the same for the same seed; each vendor's module turns them into its own records."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from crm.sandbox.names import POOLS, ascii_form
from crm.sandbox.places import COUNTRIES

# A fixed end of the seeded history: a restarted sandbox must not look like a CRM in which every record
# has just been edited, and the same seed must give the same bytes on any day.
HISTORY_END = datetime(2026, 11, 1, tzinfo=UTC)
HISTORY_DAYS = 3 * 365

EMAIL_DOMAINS = ("example.com", "example.org", "example.net")
LIFECYCLE_STAGES = {
    "subscriber": 35,
    "lead": 25,
    "marketingqualifiedlead": 8,
    "opportunity": 5,
    "customer": 25,
    "evangelist": 2,
}
PLANS = {"free": 70, "plus": 24, "vip": 6}
CATEGORIES = ("shoes", "jackets", "bags", "accessories", "home", "beauty", "sports", "toys")
JOB_TITLES = (
    "Teacher",
    "Engineer",
    "Nurse",
    "Designer",
    "Accountant",
    "Student",
    "Sales manager",
    "Chef",
    "Founder",
    "Translator",
)
COMPANY_ENDINGS = {
    "PL": "sp. z o.o.",
    "DE": "GmbH",
    "AT": "GmbH",
    "FR": "SARL",
    "ES": "S.L.",
    "IT": "S.r.l.",
    "GB": "Ltd",
    "IE": "Ltd",
    "US": "LLC",
    "JP": "株式会社",
    "BR": "Ltda.",
    "TR": "A.Ş.",
    "NL": "B.V.",
    "SE": "AB",
}

NO_EMAIL_SHARE = 0.04
INVALID_EVERY = 100  # one person in a hundred carries a value that an importer has to reject or repair
BULK_EDIT_SHARE = 0.03  # people last changed by one bulk edit: they share one modified stamp


@dataclass(slots=True)
class Person:
    """One person as a shop knows them. Empty strings stand for values nobody has entered."""

    first_name: str
    last_name: str
    email: str
    phone: str
    company: str
    job_title: str
    city: str
    country_code: str
    country: str
    language: str
    timezone: str
    birthday: str
    lifecycle_stage: str
    plan: str
    loyalty_points: int
    favourite_category: str
    newsletter_opt_in: bool
    webpush_opt_in: bool | None
    created: datetime
    modified: datetime


def _bad_email(person: Person) -> None:
    person.email = "not-an-email"


def _bad_birthday(person: Person) -> None:
    person.birthday = "31/02/1990"


def _bad_timezone(person: Person) -> None:
    person.timezone = "Mars/Olympus"


def _emoji_name(person: Person) -> None:
    person.first_name += " 🌸"


def _nul_in_name(person: Person) -> None:
    person.last_name += "\x00"


def _huge_company(person: Person) -> None:
    person.company = "Very Long Company Name " * 900  # about 20 kB


# The first six bad people are one of each kind; a NUL and a 20 kB value occur once in any store.
ONCE = (_bad_email, _bad_birthday, _bad_timezone, _emoji_name, _nul_in_name, _huge_company)
REPEATED = (_bad_email, _bad_birthday, _bad_timezone, _emoji_name)


def people(count: int, seed: int) -> Iterator[Person]:
    """Yield `count` people, oldest `created` first; equal arguments give equal people."""
    rng = random.Random(seed)  # noqa: S311  repeatable people, not secrets
    span = timedelta(days=HISTORY_DAYS).total_seconds()
    # Sign-ups grow over time: the square root of a uniform number is denser near the end.
    ages = sorted((span * (1 - rng.random() ** 0.5) for _ in range(count)), reverse=True)
    bulk_edit = HISTORY_END - timedelta(days=rng.randint(20, 60), milliseconds=rng.randrange(86_400_000))
    countries = rng.choices(COUNTRIES, [country.weight for country in COUNTRIES], k=count)
    taken: set[str] = set()
    for index, age in enumerate(ages):
        created = HISTORY_END - timedelta(milliseconds=int(age * 1000))
        person = _person(rng, countries[index], created, bulk_edit, taken)
        if index % INVALID_EVERY == INVALID_EVERY // 2:
            nth = index // INVALID_EVERY
            (ONCE[nth] if nth < len(ONCE) else REPEATED[nth % len(REPEATED)])(person)
        yield person


def _person(rng: random.Random, country, created: datetime, bulk_edit: datetime, taken: set[str]) -> Person:
    pool = POOLS[country.names]
    woman = rng.random() < 0.52
    first = rng.choice(pool.women if woman else pool.men)
    last = rng.choice(pool.families)[woman]
    city, timezone = rng.choice(country.cities)
    stage = rng.choices(list(LIFECYCLE_STAGES), list(LIFECYCLE_STAGES.values()))[0]
    plan = (
        rng.choices(list(PLANS), list(PLANS.values()))[0] if stage in ("customer", "evangelist") else "free"
    )
    buys = stage in ("customer", "evangelist")
    return Person(
        first_name=first.native,
        last_name=last.native,
        email="" if rng.random() < NO_EMAIL_SHARE else _email(rng, first.latin, last.latin, taken),
        phone=country.phone + "".join(rng.choices("0123456789", k=country.digits))
        if rng.random() < 0.8
        else "",
        company=_company(rng, last.native, country.code) if rng.random() < 0.3 else "",
        job_title=rng.choice(JOB_TITLES) if rng.random() < 0.4 else "",
        city=city,
        country_code=country.code,
        country=country.name,
        language=country.language,
        timezone=timezone,
        birthday=_birthday(rng) if rng.random() < 0.75 else "",
        lifecycle_stage=stage,
        plan=plan,
        loyalty_points=int(rng.expovariate(1 / 900)) if buys else 0,
        favourite_category=rng.choice(CATEGORIES) if rng.random() < 0.7 else "",
        newsletter_opt_in=rng.random() < 0.6,
        webpush_opt_in=rng.choice((True, False, None)),
        created=created,
        modified=_modified(rng, created, bulk_edit),
    )


def _email(rng: random.Random, first: str, last: str, taken: set[str]) -> str:
    """A free address built from the Latin names."""
    first, last = (ascii_form(part).lower().replace(" ", "").replace("-", "") for part in (first, last))
    local = rng.choice((f"{first}.{last}", f"{first}{last}", f"{first[0]}.{last}", f"{last}.{first}"))
    while True:
        address = f"{local}@{rng.choice(EMAIL_DOMAINS)}"
        if address not in taken:
            taken.add(address)
            return address
        local = f"{local.rstrip('0123456789')}{rng.randint(2, 9999)}"


def _company(rng: random.Random, last: str, code: str) -> str:
    trade = rng.choice(("Studio", "Logistics", "Foods", "Consulting", "Digital", "Travel"))
    return f"{last} {trade} {COMPANY_ENDINGS.get(code, 'Ltd')}"


def _birthday(rng: random.Random) -> str:
    """ISO date of a person aged 18 to about 75, 29 February included."""
    return (date(1951, 1, 1) + timedelta(days=rng.randrange(57 * 365))).isoformat()


def _modified(rng: random.Random, created: datetime, bulk_edit: datetime) -> datetime:
    if created < bulk_edit and rng.random() < BULK_EDIT_SHARE:
        return bulk_edit
    since = (HISTORY_END - created) / timedelta(milliseconds=1)
    return created + timedelta(milliseconds=int(since * rng.random() ** 0.7))
