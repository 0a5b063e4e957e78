"""Who may get a saved report, asked again whenever one is sent: what somebody may see changes."""

from typing import Any

from django.utils.translation import gettext as _

from analytics.models import ReportRecipient, SavedReport
from analytics.models.saved import EXPORT, MAIL_OTHERS, MAIL_OUTSIDE
from analytics.reporting import registry
from analytics.reporting.shapes import Report
from crm import masking


class NotAllowed(Exception):
    """This recipient gets nothing, and why."""


def check(saved: SavedReport, recipient: ReportRecipient) -> None:
    """See that this recipient may get this report now.

    A user needs to see the report themselves; for others than its owner the owner must be one who may mail them, and
    for a typed address the owner must see the report and be one who may take it away.

    Raises:
        NotAllowed: with the reason.
    """
    report = registry.reports().get(saved.report)
    if report is None:
        return  # what has gone is told of where it is made
    if recipient.left_at is not None:
        raise NotAllowed(_("They want it no more."))
    if recipient.user is None:
        _check_typed(saved, report)
        return
    user = recipient.user
    if not (_in_office(user) and user.has_perm(report.permission)):
        raise NotAllowed(_("This user may not see the report any more."))
    if not user.email:
        raise NotAllowed(_("This user has no email address."))
    if user.pk != saved.owner_id and recipient.pk is not None and not _may(saved.owner, MAIL_OTHERS):
        raise NotAllowed(_("Whoever saved it may not mail reports to others any more."))


def attachments(saved: SavedReport, recipient: ReportRecipient) -> bool:
    """Whether the files may come with it: taking numbers away needs a permission besides seeing them."""
    return recipient.user is None or bool(recipient.user.has_perm(EXPORT))


def hides(saved: SavedReport, recipient: ReportRecipient) -> bool:
    """Whether it has to be made for somebody who sees no contact data."""
    return not masking.sees_contacts(recipient.user or saved.owner)


def _check_typed(saved: SavedReport, report: Report) -> None:
    if not all(_may(saved.owner, name) for name in (MAIL_OUTSIDE, EXPORT, report.permission)):
        raise NotAllowed(_("Whoever saved it may not send it to other addresses any more."))


def _may(user: Any, permission: str) -> bool:
    return user is not None and _in_office(user) and bool(user.has_perm(permission))


def _in_office(user: Any) -> bool:
    return bool(user.is_active and user.is_staff)
