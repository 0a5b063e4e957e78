"""The pages about segments and a rule's sentence in Arabic and Polish."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from gettext import c2py
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from django.conf import settings
from django.utils import translation
from django.utils.translation.template import templatize

from campaigns.models import Flow
from campaigns.segments import fields, grammar, sentence

WORDS = [
    "campaigns/segments/**/*.py",
    "campaigns/admin/segments/*.py",
    "campaigns/models/segments.py",
    "campaigns/models/lists.py",
    "crm/rules/*.py",
    "crm/tables.py",
    "crm/uploads.py",
    "crm/unpacking.py",
    "crm/normalise.py",
    *(f"templates/admin/{pages}/**/*.html" for pages in ("campaigns/segment", "campaigns/list")),
    *(f"templates/admin/{pages}/**/*.html" for pages in ("campaigns/export", "crm/rules")),
]
FUNCTIONS = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}
# What a translation has to have as well.
KEPT = re.compile(r"%\(\w+\)[\d.]*[a-z]|%[sd%]|\{\w+\}|</?\w+>|^ | $")

RULE = {
    "all": [
        {"kind": "attribute", "field": "country", "op": "in", "value": ["PL", "SA"]},
        {"kind": "attribute", "field": "last_seen", "op": "within_last", "value": {"hours": 5}},
        {
            "kind": "event",
            "name": "purchase",
            "where": [{"property": "amount", "op": "gt", "value": 10}],
            "count": {"op": "gte", "value": 3},
            "within": {"last": {"days": 30}},
            "not_followed_by": {"name": "refund", "within": {"hours": 2}},
        },
        {
            "any": [
                {"kind": "message", "did": "opened", "message": "spring", "within": {"last": {"days": 1}}},
                {"kind": "flow", "flow": "welcome", "state": "completed"},
                {"not": {"kind": "list", "slug": "guests"}},
            ]
        },
    ]
}


@cache
def catalogue(language: str) -> Catalog:
    with (settings.BASE_DIR / f"locale/{language}/LC_MESSAGES/django.po").open("rb") as file:
        return read_po(file, locale=language)


def messages() -> Iterator[tuple[str, str | None, str | tuple[str, ...]]]:
    """File, context and text (or both numbers of it) of all that is said, found the way makemessages does."""
    for pattern in WORDS:
        found = sorted(Path(settings.BASE_DIR).glob(pattern))
        assert found, pattern
        for path in found:
            text = path.read_text()
            if path.suffix == ".html":  # becomes Python, but for its indentation
                text = "\n".join(line.strip() for line in templatize(text).split("\n"))
            for _line, message, _comments, context in extract("python", io.BytesIO(text.encode()), FUNCTIONS):
                yield str(path), context, message


def fault(language: str, message: str | tuple[str, ...], context: str | None) -> str:
    """What is wrong with a text's translation; empty when nothing is."""
    one = message if isinstance(message, str) else message[0]
    entry = catalogue(language).get(one, context)
    if entry is None or entry.fuzzy or not entry.string:
        return "not translated"
    if isinstance(message, str):
        # Of a text that is counted elsewhere gettext takes the form for one.
        number = c2py(catalogue(language).plural_expr)(1)
        string = entry.string if isinstance(entry.string, str) else entry.string[number]
        return "" if same(one, string) else "changed"
    plural, forms = message[1], entry.string
    if isinstance(forms, str) or len(forms) != catalogue(language).num_plurals or not all(forms):
        return "not translated for every number"
    # The forms for nothing, one and two may say the number in words, unless it has no name.
    if not same(plural, forms[-1]) or not all(kept(form) <= kept(plural) for form in forms):
        return "changed"
    return "no number" if "%d" in plural and not all("%d" in form for form in forms) else ""


def kept(text: str) -> Counter[str]:
    return Counter(KEPT.findall(text))


def same(text: str, translated: str) -> bool:
    return kept(text) == kept(translated)


def test_everything_said_about_segments_is_translated():
    said = {(context, message): path for path, context, message in messages()}
    assert len(said) > 800
    for language in ("ar", "pl"):
        wrong = [
            (path, message, found)
            for (context, message), path in said.items()
            if (found := fault(language, message, context))
        ]
        assert wrong == []


@pytest.mark.parametrize("language", ["ar", "pl"])
def test_each_translation_of_the_catalogue_keeps_what_its_text_holds(language):
    entries = [entry for entry in catalogue(language) if entry.id]
    # With the header; a text that stands there twice is read once.
    path = settings.BASE_DIR / f"locale/{language}/LC_MESSAGES/django.po"
    assert path.read_text().count("\nmsgid ") == len(entries) + 1
    wrong = [
        (entry.id, found) for entry in entries if (found := fault(language, entry.id, entry.context or None))
    ]
    assert wrong == []


@pytest.mark.parametrize("language", ["ar", "pl"])
def test_fields_have_names_in_the_language(language):
    english = {name: fields.field(name).label for name in fields.COLUMNS}
    with translation.override(language):
        here = {name: fields.field(name).label for name in fields.COLUMNS}
    assert [name for name in fields.COLUMNS if here[name] == english[name]] == []


@pytest.mark.django_db
def test_rule_as_a_sentence():
    Flow.objects.create(slug="welcome", name="Hello")
    rule = grammar.parse(RULE)
    with translation.override("pl"):
        assert sentence.describe(rule) == (
            "Każdy, kto spełnia warunki: kraj to jedno z: Polska, Arabia Saudyjska"
            " oraz ostatnia wizyta przypada w ciągu ostatnich 5 godzin"
            " oraz wystąpiło zdarzenie „purchase” (gdzie amount wynosi więcej niż 10) co najmniej 3 razy"
            " w ciągu ostatnich 30 dni po którym nie nastąpiło „refund” w ciągu 2 godzin"
            " oraz (wiadomość „spring” została otwarta w ciągu ostatniego 1 dnia"
            " lub scenariusz „Hello” jest ukończony lub nieprawda, że (jest na liście „guests”))."
        )
    with translation.override("ar"):
        assert sentence.describe(rule) == (
            "كل من تنطبق عليه الشروط التالية: البلد: من بين بولندا، المملكة العربية السعودية"
            " وكذلك آخر ظهور: في آخر 5 ساعات"
            " وكذلك قام بالحدث «purchase» (حيث amount: أكبر من 10) ما لا يقل عن 3 مرات"
            " في آخر 30 يومًا دون أن يتبعه «refund» خلال ساعتين"
            " وكذلك (فتح الرسالة «spring» في آخر يوم"
            " أو أكمل المسار «Hello» أو لا ينطبق (موجود في القائمة «guests»))."
        )
