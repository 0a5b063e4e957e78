"""All reports there are."""

import pkgutil
from functools import cache
from importlib import import_module

from analytics.reporting import catalogue
from analytics.reporting.shapes import Report

GROUPS = ("messages", "people", "money", "quality")


@cache
def reports() -> dict[str, Report]:
    """Each report by its slug: the REPORT of every module of the catalogue, group by group and by name."""
    found = [
        import_module(f"{catalogue.__name__}.{module.name}").REPORT
        for module in pkgutil.iter_modules(catalogue.__path__)
    ]
    found.sort(key=lambda report: (GROUPS.index(report.group), report.slug))
    return {report.slug: report for report in found}


def seen_by(user: object) -> list[Report]:
    """The reports that this user may look at."""
    return [report for report in reports().values() if user.has_perm(report.permission)]  # type: ignore[attr-defined]
