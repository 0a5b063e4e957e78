"""What the tests of text messages share."""

from typing import Any

import pytest

from delivery.models import Account
from tests.delivery import services


def account(at: services.Service, provider: str = "twilio", channel: str = "sms", **config: Any) -> Account:
    """An account that writes to a service here."""
    return Account.objects.create(
        name=f"{provider} {channel}",
        slug=f"{provider}-{channel}",
        channel=channel,
        provider=provider,
        config={
            "account_sid": services.SID,
            "number": "+15017122661",
            "base_url": at.url,
            "content_url": at.url,
            **config,
        },
        credentials={"auth_token": services.TOKEN},
    )


@pytest.fixture
def twilio() -> Any:
    """Answers like Twilio."""
    return services.Twilio()


@pytest.fixture
def service(twilio: services.Twilio, settings: Any) -> Any:
    """Twilio on 127.0.0.1."""
    with services.serving(twilio) as found:
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [found.host]
        yield found
