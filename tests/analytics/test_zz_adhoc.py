import random
import pytest
from django.test import override_settings
from tests.analytics import world
from tests.analytics.test_money_reports import lives
from tests.analytics.test_people_reports import *
SL = "deliverability heat retention audience optins coupons revenue lift sources".split()

@pytest.mark.django_db
@pytest.mark.parametrize("lang", ["en", "ar", "pl"])
def test_pages(admin_client, lang):
    lives(random.Random(3), 8)
    for slug in SL:
        for extra in ("from=2026-03-01&to=2026-03-10", "period=all", "models=all&by=channel&about=topics&figure=conversions&cohort=purchase&from=2026-03-01&to=2026-03-10"):
            r = admin_client.get(f"/admin/analytics/engagement/reports/{slug}/?{extra}", headers={"accept-language": lang})
            assert r.status_code == 200, (slug, extra, r.status_code)
            for fmt in ("csv", "xlsx"):
                from django.urls import reverse
                try:
                    u = reverse("admin:report_export", args=[slug, fmt])
                except Exception as e:
                    continue
                r = admin_client.get(f"{u}?{extra}")
                assert r.status_code in (200, 302), (slug, fmt, r.status_code)
            pass

@pytest.mark.django_db
@pytest.mark.parametrize("lang", ["en"])
def test_dump(lang):
    from tests.analytics import sheets
    from analytics.reporting.writing import written
    from django.utils import translation
    lives(random.Random(3), 8)
    for slug in SL:
        with translation.override(lang):
            sh = sheets.build(slug, **{"from": "2026-03-01", "to": "2026-03-10"})
            print("=====", slug)
            if sh.figures:
                for c in sh.cards:
                    print("  CARD", c.label, sh.figures.values[c.key], (sh.figures.before or {}).get(c.key))
            for t in sh.tables:
                print("  TABLE", t.title, "|", t.head, "|", [str(c.label) for c in t.columns][:9])
                for r in t.rows[:4] + ([t.total] if t.total else []):
                    print("     ", r.label, "|", [written(c, r.values[c.key]) for c in t.columns][:9], r.note)
            for c in sh.charts:
                print("  CHART", c.title, c.labels[:3], [str(s.column.label) for s in c.series])
            print("  NOTES", sh.notes, sh.warnings)
