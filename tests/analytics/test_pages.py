"""What pages of figures share: their frame, and how numbers are written."""

from pathlib import Path

import pytest
import unfold
from django.utils import translation

from analytics.written import amounts, count, money, percent


def test_the_frame_differs_from_the_themes_only_in_its_landmarks():
    theirs = (Path(unfold.__file__).parent / "templates/admin/base.html").read_text()
    ours = Path("templates/admin/base.html").read_text()
    skip = '    <a class="nudge-skip" href="#main-content">{% translate "Skip to the content" %}</a>\n'
    assert ours.count(skip) == 1
    ours = ours.replace(skip, "").replace(
        '<main id="main-content" tabindex="-1" class="@container px-4 pb-4 grow">',
        '<div class="@container px-4 pb-4 grow">',
    )
    ours = ours.replace('    {% include "admin/theme_words.html" %}\n', "")
    for tag in ("<header>", "</header>", "<footer>", "</footer>"):
        assert ours.count(tag) == 1
        ours = ours.replace(tag, "")
    assert ours.replace("</main>", "</div>") == theirs


class TestWriting:
    @pytest.mark.parametrize(("language", "written"), [("en", "€12,345.50"), ("pl", "12\xa0345,50\xa0€")])
    def test_money(self, language, written):
        with translation.override(language):
            assert money(12345.5, "EUR") == written

    def test_what_is_no_currency_is_written_as_it_came(self):
        assert money(5, "") == "5.00"
        assert money(5, "€") == "5.00 €"
        assert money(5, "zzz") == "ZZZ5.00"
        assert amounts({"PLN": 1, "EUR": 2}) == ["€2.00", "PLN1.00"]

    def test_shares(self):
        assert percent(None) == "–"
        assert percent(0.1234) == "12.3%"
        assert percent(1) == "100%"
        assert count(1234567) == "1,234,567"
