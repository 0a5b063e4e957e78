"""Who took which report away, in the audit log."""

from typing import Any

from analytics.exports.files import Made
from analytics.reporting import query as queries
from crm import audit


def record(by: Any, found: Made, form: str, action: str = "report.exported", **more: Any) -> None:
    """Note it, with the parameters and how many rows it has; before the first of them leaves.

    Args:
        by: as `audit.record` takes it.
        form: csv, xlsx or email.
    """
    asked = queries.params(found.report, found.query)
    detail = {"rows": found.rows, "form": form, "parameters": asked, **more}
    audit.record(by, action, ("analytics.report", found.report.slug), **detail)
