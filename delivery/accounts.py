"""Whose services carry our messages: which account a message goes by, and its settings made ready for use."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Least
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from crm import alerts
from crm.fields import Unreadable
from delivery import channels, outbox, providers
from delivery.channels.base import Channel
from delivery.models import Account, Delivery, SandboxItem
from delivery.providers.base import Provider, ProviderError, Sender

T = TypeVar("T")
SANDBOX = "sandbox"
SANDBOX_KEPT = timedelta(days=30)
NONE = "no account for this channel"


def get(account_id: int | None) -> Account:
    """Return an account; ProviderError when it is gone."""
    try:
        return Account.objects.get(pk=account_id or 0)
    except Account.DoesNotExist:
        raise ProviderError("The sending account was deleted.") from None


def provider(account: Account) -> Provider:
    """Return what sends by `account`; ProviderError when this installation does not know the service."""
    try:
        return providers.get(account.channel, account.provider)
    except providers.UnknownProvider:
        raise ProviderError(f"This installation has no provider “{account.provider}”.") from None


def sender(account: Account | int) -> Sender:
    """Return an account ready for use, or the one with this id.

    Raises:
        ProviderError: it is gone, or its settings are not what its provider needs.
    """
    account = get(account) if isinstance(account, int) else account
    service = provider(account)
    if isinstance(account.credentials, Unreadable):
        raise ProviderError("Its credentials can't be read with the present encryption key: enter them anew.")
    return Sender(
        account.pk,
        account.name,
        _convert(account.config, service.Config, "settings"),
        _convert(account.credentials, service.Credentials, "credentials"),
        callback_url(account),
    )


def _convert(stored: Any, shape: type[T], what: str) -> T:
    try:
        return msgspec.convert(stored, shape)
    except msgspec.ValidationError:  # its text could tell a secret
        raise ProviderError(f"Its {what} are not complete.") from None


def callback_url(account: Account) -> str:
    """Where the account's provider reports to."""
    return f"{settings.NUDGE_PUBLIC_URL}/callbacks/{account.callback_key}/"


def route(channel: str, transactional: bool = False) -> Account | None:
    """Return the account by which a channel's messages go now: the one for their own purpose comes before the one for
    everything; None when there is none."""
    purpose = Account.Purpose.TRANSACTIONAL if transactional else Account.Purpose.MARKETING
    usual = Account.objects.filter(
        channel=channel, usual=True, state=Account.State.ACTIVE, purpose__in=[purpose, Account.Purpose.ANY]
    )
    return max(usual, key=lambda account: account.purpose == purpose, default=None)


def replace_usual(account: Account) -> list[Account]:
    """Have an account that is about to be saved as the usual one of its purpose take the place of another one.

    In the caller's transaction; returns the accounts that are not used by default any more.
    """
    if not account.usual or account.state != Account.State.ACTIVE:
        return []
    others = list(
        Account.objects.select_for_update()
        .filter(channel=account.channel, purpose=account.purpose, usual=True, state=Account.State.ACTIVE)
        .exclude(pk=account.pk)
        .defer("credentials")
    )
    Account.objects.filter(pk__in=[other.pk for other in others]).update(usual=False)
    return others


def idempotent(account_ids: Collection[int]) -> set[int]:
    """Return which of these accounts have a provider that sends what it was given twice only once."""
    asked = Account.objects.filter(pk__in=account_ids).defer("credentials")
    return {account.pk for account in asked if _idempotent(account)}


def repeats(channel: Channel, account: Account | None) -> bool:
    """Tell whether an attempt with unknown outcome may be made again: what was sent twice is shown once. No query."""
    return channel.repeatable or (account is not None and _idempotent(account))


def _idempotent(account: Account) -> bool:
    try:
        service = provider(account)
        return service.repeatable(_convert(account.config, service.Config, "settings"))
    except ProviderError:
        return False


def opened(channel: str, now: datetime | None = None) -> int:
    """Let go out what waited for want of an account, if there is one now; return how many that are."""
    now = now or timezone.now()
    count = 0
    for transactional in (True, False):
        if route(channel, transactional) is not None:
            count += Delivery.objects.filter(
                channel=channel, transactional=transactional, state=Delivery.State.DEFERRED, reason=NONE
            ).update(state=Delivery.State.QUEUED, reason="", due_at=Least("expires_at", Value(now)))
    if route(channel) is not None:
        alerts.resolve(missing_key(channel))
    if count:
        outbox.wake_on_commit()
    return count


def missing_key(channel: str) -> str:
    """What alerts about a channel without an account are kept under."""
    return f"delivery:no-account:{channel}"


def setup_key(account_id: int) -> str:
    """What alerts about an account that can't be used are kept under."""
    return f"delivery:account:{account_id}:setup"


def sandboxed(kinds: Collection[str]) -> Mapping[str, Account]:
    """Return by channel the accounts in use that only pretend to send."""
    usual = Account.objects.filter(
        channel__in=kinds, usual=True, state=Account.State.ACTIVE, provider=SANDBOX
    )
    return {account.channel: account for account in usual}


@transaction.atomic
def ensure_sandboxes() -> int:
    """Give each channel that has no account yet one that only pretends to send; return how many that were."""
    have = set(Account.objects.values_list("channel", flat=True))
    wanted = [
        channel
        for kind, channel in channels.everything().items()
        if channel.provided and kind not in have and SANDBOX in providers.of(kind)
    ]
    made = [
        Account(
            name=str(format_lazy(_("Sandbox for {channel}"), channel=channel.label)),
            slug=f"sandbox-{channel.kind}",
            channel=channel.kind,
            provider=SANDBOX,
        )
        for channel in wanted
    ]
    return len(Account.objects.bulk_create(made, ignore_conflicts=True))


def empty_sandbox(now: datetime | None = None, limit: int = 5000) -> int:
    """Drop up to `limit` messages that the sandbox has kept for long enough; return how many."""
    old = SandboxItem.objects.filter(received_at__lt=(now or timezone.now()) - SANDBOX_KEPT).order_by(
        "received_at"
    )
    return SandboxItem.objects.filter(pk__in=old.values("pk")[:limit]).delete()[0]
