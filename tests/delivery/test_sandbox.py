"""The sandbox is a provider like any other, and sends nothing."""

from typing import Any

import pytest

from delivery.models import SandboxItem
from tests.delivery import pretend
from tests.delivery.provider_conformance import OK, ProviderConformance


class TestSandbox(ProviderConformance):
    channel = "email"
    kind = "sandbox"
    answers = (OK,)

    def received(self) -> list[Any]:
        return list(SandboxItem.objects.all())

    def payload(self) -> pretend.Payload:
        return pretend.Payload("Hello\x00 \N{PARTY POPPER}", 3)

    @pytest.mark.django_db
    def test_it_keeps_what_it_was_given(self) -> None:
        self.send(OK)
        item = SandboxItem.objects.earliest("pk")
        assert item.address == self.addresses[0]
        assert item.payload == {"text": "Hello \N{PARTY POPPER}", "parts": 3}
