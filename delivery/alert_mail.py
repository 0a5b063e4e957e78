"""Telling administrators by email what the bell of the admin shows, once for each problem."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage, get_connection
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import alerts
from crm.models import Alert
from delivery import accounts
from delivery.channels.base import Address, Outcome, Parcel
from delivery.dispatch import states
from delivery.email.content import EmailPayload
from delivery.models import Delivery
from delivery.providers.base import ProviderError

logger = logging.getLogger(__name__)
PERMISSION = "crm.change_alert"  # who may close alerts is told of them
BACKEND = "django.contrib.auth.backends.ModelBackend"
EXPIRES = timedelta(hours=1)


def send(now: datetime | None = None) -> int:
    """Mail the alerts that are new to whoever may close them; return how many that were.

    By the server that EMAIL_HOST names, else by the email account that is used by default. Where there is neither, or
    it does not work, they are tried again with the next call.
    """
    now = now or timezone.now()
    to = recipients()
    if not to or not (settings.EMAIL_HOST or accounts.route("email", True)):
        return 0
    found = alerts.to_mail(now)
    if not found:
        return 0
    try:
        sent = _by_settings(to, found) if settings.EMAIL_HOST else _by_account(to, found, now)
    except Exception:  # whatever a mail server or an account's settings can do wrong
        logger.exception("Alerts can't be mailed")
        sent = False
    if not sent:
        alerts.not_mailed(found)
        return 0
    return len(found)


def recipients() -> list[str]:
    """The addresses of those who may close alerts."""
    people = get_user_model().objects.with_perm(PERMISSION, backend=BACKEND).filter(is_staff=True)
    return sorted(set(people.exclude(email="").values_list("email", flat=True)))


def _by_settings(to: Sequence[str], found: Sequence[Alert]) -> bool:
    with get_connection() as connection:
        messages = [
            EmailMessage(_subject(found), _text(found), to=[each], connection=connection) for each in to
        ]
        return bool(connection.send_messages(messages))


def _by_account(to: Sequence[str], found: Sequence[Alert], now: datetime) -> bool:
    account = accounts.route("email", transactional=True)
    if account is None:
        raise ProviderError(accounts.NONE)
    subject, text = _subject(found), _text(found)
    payload = EmailPayload(subject=subject, text=text, html=f"<pre>{escape(text)}</pre>")
    unsaved = Delivery(channel="email", queued_at=now, expires_at=now + EXPIRES)
    parcels = [
        Parcel(number, unsaved, Address(each), payload, account.pk) for number, each in enumerate(to, 1)
    ]
    results = accounts.provider(account).send(accounts.sender(account), parcels, now)
    # One with unknown outcome may have arrived.
    return bool({result.outcome for result in list(results)} & {Outcome.ACCEPTED, Outcome.STARTED})


def _subject(found: Sequence[Alert]) -> str:
    if len(found) == 1:
        return f"[Nudge] {states.clean(found[0].title)}"
    return ngettext("[Nudge] %d problem", "[Nudge] %d problems", len(found)) % len(found)


def _text(found: Sequence[Alert]) -> str:
    parts = [f"{states.clean(alert.title)}\n{alert.detail}" for alert in found]
    page = settings.NUDGE_PUBLIC_URL.rstrip("/") + reverse("admin:crm_alert_changelist")
    return "\n\n".join([*parts, _("All of them: %s") % page])
