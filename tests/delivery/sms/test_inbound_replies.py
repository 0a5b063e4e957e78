"""Answers to words, by a provider."""

from datetime import timedelta

import pytest

from delivery import inbound, inbound_replies
from delivery.models import Account, InboundMessage
from delivery.providers.base import Inbound
from tests.delivery import services, world
from tests.delivery.sms.conftest import account
from tests.delivery.world import NOW

NUMBER = "+48600000001"


def hear(used: Account, text: str) -> None:
    """This text arrives."""
    inbound.apply(used.pk, "sms", [Inbound(text, NUMBER, text, NOW)], NOW)


@pytest.mark.django_db
class TestReplies:
    def test_an_answer_goes_out_once(self, service: services.Service, twilio: services.Twilio) -> None:
        used = account(service)
        world.person(1, channels=["sms"], phone=NUMBER, language="pl")
        hear(used, "STOP")
        assert inbound_replies.send(NOW) == 1
        assert inbound_replies.send(NOW) == 0
        [form] = twilio.taken
        assert form["To"] == NUMBER
        assert "START" in form["Body"]
        assert InboundMessage.objects.get().reply == "sent"

    def test_one_with_unknown_outcome_is_not_repeated(
        self,
        service: services.Service,
        twilio: services.Twilio,
    ) -> None:
        used = account(service)
        twilio.troubles[NUMBER] = services.CUT
        hear(used, "STOP")
        inbound_replies.send(NOW)
        assert InboundMessage.objects.get().reply == "failed"
        assert inbound_replies.send(NOW) == 0

    def test_one_that_is_put_off_is_tried_again(
        self, service: services.Service, twilio: services.Twilio
    ) -> None:
        used = account(service)
        twilio.troubles[NUMBER] = (429, 20429)
        hear(used, "STOP")
        InboundMessage.objects.update(received_at=NOW)
        inbound_replies.send(NOW)
        assert InboundMessage.objects.get().reply == "waiting"
        inbound_replies.send(NOW + timedelta(hours=1))
        assert InboundMessage.objects.get().reply == "failed"
