"""Handing a report's mail over: to the server that EMAIL_HOST names, else by the account for transactional email."""

import smtplib
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import get_connection
from django.utils.translation import gettext as _

from delivery import accounts
from delivery.channels.base import Address, Outcome, Parcel
from delivery.email import messages, mime
from delivery.email.content import EmailPayload
from delivery.models import Delivery
from delivery.providers.base import ProviderError

EXPIRES = timedelta(hours=1)


class NotSent(Exception):
    """It was not sent, and why. `again`: a later try may work. `setup`: nothing can be sent before that is mended."""

    def __init__(self, detail: str, again: bool = False, setup: bool = False):
        super().__init__(detail)
        self.detail, self.again, self.setup = detail, again, setup


def ready() -> bool:
    """Whether there is anything to send by."""
    return bool(settings.EMAIL_HOST or accounts.route("email", transactional=True))


def no_account() -> str:
    """What to do where there is nothing to send by."""
    return _(
        "There is no email account to send by: add one under Connections, Sending accounts, or set EMAIL_HOST."
    )


def send(to: str, payload: EmailPayload, number: int, now: datetime) -> None:
    """Send one mail. One whose outcome is not known counts as sent: it must not come twice.

    Args:
        number: of the mail; its Message-ID has it.

    Raises:
        NotSent: it certainly did not go out.
    """
    if settings.EMAIL_HOST:
        _by_settings(to, payload)
    else:
        _by_account(to, payload, number, now)


def _by_settings(to: str, payload: EmailPayload) -> None:
    began = False
    try:
        payload.to = mime.address(to)
        payload.from_address = payload.from_address or settings.DEFAULT_FROM_EMAIL
        with get_connection() as connection:
            began = True
            connection.send_messages([messages.email_message(payload, connection)])
    except mime.BadAddress as error:
        raise NotSent(str(error)) from error
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()), (550, b""))
        raise NotSent(words.decode(errors="replace")[:200], again=code < 500) from error
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(_("The mail server refuses the password."), again=True, setup=True) from error
    except smtplib.SMTPResponseException as error:
        text = str(error.smtp_error)[:200]
        raise NotSent(text, again=error.smtp_code < 500) from error
    except smtplib.SMTPServerDisconnected as error:
        if not began:
            raise NotSent(_("The mail server hung up."), again=True, setup=True) from error
        # After the message was handed over, perhaps.
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(error.strerror or type(error).__name__, again=True, setup=True) from error


def _by_account(to: str, payload: EmailPayload, number: int, now: datetime) -> None:
    account = accounts.route("email", transactional=True)
    if account is None:
        raise NotSent(no_account(), again=True, setup=True)
    unsaved = Delivery(channel="email", queued_at=now, expires_at=now + EXPIRES)
    parcel = Parcel(number, unsaved, Address(to), payload, account.pk)
    try:
        results = list(accounts.provider(account).send(accounts.sender(account), [parcel], now))
    except ProviderError as error:
        raise NotSent(str(error)[:200], again=True, setup=True) from error
    for result in results:
        if result.outcome in (Outcome.ACCEPTED, Outcome.STARTED):
            return
        detail = result.detail[:200]
        setup = result.outcome == Outcome.CONFIGURATION
        raise NotSent(detail, again=setup or result.outcome == Outcome.RETRY, setup=setup)
    raise NotSent(_("The account took nothing."), again=True)
