"""Email by one of Django's email backends that the operator has allowed."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django import forms
from django.conf import settings
from django.core.mail import get_connection
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.channels.base import Outcome, Parcel, Result
from delivery.email import mime
from delivery.email.addressing import addressed
from delivery.email.messages import email_message
from delivery.providers import register
from delivery.providers.base import AccountForm, Provider, ProviderError, Sender


class BackendConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which backend, by its dotted path, and who writes."""

    backend: Annotated[str, msgspec.Meta(min_length=1)]
    from_address: Annotated[str, msgspec.Meta(min_length=3)]
    from_name: str = ""
    reply_to: str = ""


class BackendCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """None: the backend reads its own from the settings."""


def _allowed() -> list[tuple[str, str]]:
    return [(path, path) for path in settings.NUDGE_EMAIL_BACKENDS]


class BackendForm(AccountForm):
    backend = forms.ChoiceField(label=gettext_lazy("Backend"), choices=_allowed)
    from_address = forms.CharField(label=gettext_lazy("Sender's address"), validators=[validate_email])
    from_name = forms.CharField(label=gettext_lazy("Sender's name"), required=False)
    reply_to = forms.CharField(
        label=gettext_lazy("Answers go to"), required=False, validators=[validate_email]
    )


@register
class DjangoBackend(Provider):
    """Any email backend for Django. What went wrong is all that most of them tell, so a message that failed in a way
    that is not known to come before the sending has an unknown outcome."""

    kind = "django"
    channels = ("email",)
    label = gettext_lazy("Email backend of Django")
    help = gettext_lazy("Those that NUDGE_EMAIL_BACKENDS lists; they read their own settings.")
    position = 60
    Config = BackendConfig
    Credentials = BackendCredentials
    Form = BackendForm

    def check(self, sender: Sender) -> str:
        """Open a connection."""
        connection = _connection(sender)
        try:
            connection.open()
            connection.close()
        except Exception as error:
            raise ProviderError(_("The backend can't connect: %s") % type(error).__name__) from error
        return _("The backend connects.")

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send one after the other over one connection."""
        connection = _connection(sender)
        try:
            connection.open()
        except Exception as error:
            raise ProviderError(f"The backend can't connect: {type(error).__name__}") from error
        try:
            for parcel in parcels:
                yield _sent(connection, sender, parcel, now)
        finally:
            connection.close()


def _connection(sender: Sender) -> Any:
    path = sender.config.backend
    if path not in settings.NUDGE_EMAIL_BACKENDS:
        raise ProviderError(_("NUDGE_EMAIL_BACKENDS does not allow this backend."))
    return get_connection(path)


def _sent(connection: Any, sender: Sender, parcel: Parcel, now: datetime) -> Result:
    config: BackendConfig = sender.config
    try:
        payload = addressed(parcel, config.from_address, config.from_name, config.reply_to)
    except ValueError as error:
        return Result(parcel.number, Outcome.REFUSED, None, str(error))
    message_id = mime.new_message_id(parcel.number, payload.from_address)
    message = email_message(payload, connection)
    message.extra_headers |= {"Message-ID": message_id}
    try:
        taken = connection.send_messages([message])
    except Exception as error:
        return Result(parcel.number, Outcome.STARTED, None, f"the backend failed: {type(error).__name__}")
    if not taken:
        return Result(parcel.number, Outcome.REFUSED, None, "the backend did not take it")
    return Result(parcel.number, Outcome.ACCEPTED, provider_id=message_id)
