"""What every provider must do with its service's answers. A provider's test class inherits these."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from delivery import accounts, providers, reports
from delivery.channels.base import Address, Outcome, Parcel, Result
from delivery.models import Account, Delivery, ProviderReport
from delivery.providers.base import AccountForm, Call, NotGenuine, Provider, Sender
from tests.delivery import world
from tests.delivery.world import NOW

OK, BAD, GONE, BUSY, BROKEN, REFUSED, SILENT, CUT = (
    *("ok", "bad", "gone", "busy"),
    *("broken", "refused", "silent", "cut"),
)
UNKNOWN = (Outcome.RETRY, Outcome.STARTED)  # STARTED: it may have been taken, and must not be sent again


@pytest.mark.django_db
class ProviderConformance:
    """Set the class attributes and fill in the hooks; `answers` names those that the service can give.

    The service is a real server on the loopback that answers as `serve` was told:
    ok: it takes the message; bad: it refuses this one message; gone: the address is no more; busy: 429 with
    Retry-After: 7; broken: 503; refused: our credentials are wrong; silent: no answer in time; cut: the connection
    ends before the answer.
    """

    channel: str
    kind: str
    config: dict[str, Any] = {}
    credentials: dict[str, Any] = {}
    secrets: Sequence[str] = ()  # parts of the credentials that no text may show
    answers: Sequence[str] = (OK, BAD, GONE, BUSY, BROKEN, REFUSED, SILENT, CUT)
    addresses: Sequence[str] = ("a@example.com", "b@example.com", "c@example.com")
    expected: dict[str, tuple[Outcome, ...]] = {
        OK: (Outcome.ACCEPTED,),
        BAD: (Outcome.REFUSED,),
        GONE: (Outcome.GONE,),
        BUSY: (Outcome.RETRY,),
        BROKEN: UNKNOWN,
        REFUSED: (Outcome.CONFIGURATION,),
        SILENT: UNKNOWN,
        CUT: UNKNOWN,
    }

    def serve(self, answer: str) -> None:
        """Make the service answer all calls so from now on."""

    def received(self) -> list[Any]:
        """What the service has taken, once for each message it would deliver."""
        raise NotImplementedError

    def payload(self) -> msgspec.Struct:
        """A message of the channel."""
        raise NotImplementedError

    def genuine(self, provider_id: str) -> list[Call]:
        """Calls as the provider makes them to report on a message; empty if it never calls."""
        return []

    def forged(self, call: Call) -> list[Call]:
        """The same call as somebody else would make it."""
        return [
            msgspec.structs.replace(call, body=call.body + b" "),
            msgspec.structs.replace(call, headers={}),
        ]

    def strange(self) -> list[Call]:
        """Genuine calls with words that we do not know."""
        return []

    @pytest.fixture(autouse=True)
    def _service(self) -> Any:
        """Overridden where a service has to be started, with the settings' host trusted."""
        return None

    @property
    def provider(self) -> Provider:
        return providers.get(self.channel, self.kind)

    def account(self) -> Account:
        return Account.objects.get_or_create(
            slug="conforming",
            defaults={
                "name": "conforming",
                "channel": self.channel,
                "provider": self.kind,
                "config": self.config,
                "credentials": self.credentials,
            },
        )[0]

    def sender(self) -> Sender:
        return accounts.sender(self.account())

    def parcels(self) -> list[Parcel]:
        before = Delivery.objects.count()
        people = [world.person(before + number) for number in range(len(self.addresses))]
        message = world.message(f"conforming-{before}", channel=self.channel, content={"text": "x"})
        deliveries = world.queue(message, people, self.channel)
        return [
            Parcel(1000 + delivery.pk, delivery, Address(address), self.payload(), self.account().pk)
            for delivery, address in zip(deliveries, self.addresses, strict=True)
        ]

    def send(self, answer: str) -> tuple[list[Parcel], list[Result]]:
        self.serve(answer)
        parcels = self.parcels()
        return parcels, list(self.provider.send(self.sender(), iter(parcels), NOW))

    def test_it_is_registered_and_described(self) -> None:
        provider = self.provider
        assert self.channel in provider.channels
        assert str(provider.label)
        assert issubclass(provider.Form, AccountForm)
        known = {*provider.Config.__struct_fields__, *provider.Credentials.__struct_fields__}
        assert set(provider.Form.base_fields) <= known

    def test_every_parcel_gets_one_result_and_every_answer_its_meaning(self, subtests: Any) -> None:
        for answer in self.answers:
            with subtests.test(answer=answer):
                parcels, results = self.send(answer)
                assert sorted(result.number for result in results) == [parcel.number for parcel in parcels]
                wanted = self.expected[answer]
                assert {result.outcome for result in results} <= {*wanted, *self._not_tried(answer)}
                assert any(result.outcome in wanted for result in results)
                for result in results:
                    assert not [secret for secret in self.secrets if secret in result.detail]
                    assert (result.outcome == Outcome.ACCEPTED) == (answer == OK)
                if answer == OK:
                    assert all(result.provider_id and result.parts >= 1 for result in results)
                    assert len({result.provider_id for result in results}) == len(results)
                if answer == BUSY:
                    assert max(result.retry_after or timedelta() for result in results) == timedelta(
                        seconds=7
                    )

    def _not_tried(self, answer: str) -> tuple[Outcome, ...]:
        """Once the service said that it takes nothing, the rest of a batch may be left for later."""
        return (
            (Outcome.RETRY, Outcome.CONFIGURATION) if answer in (BUSY, BROKEN, REFUSED, SILENT, CUT) else ()
        )

    def test_the_same_message_again_is_taken_once_where_the_provider_says_so(self) -> None:
        sender = self.sender()
        if not self.provider.repeatable(sender.config):
            pytest.skip("it does not")
        self.serve(OK)
        parcels = self.parcels()
        for number in (0, 100):
            again = [msgspec.structs.replace(parcel, number=parcel.number + number) for parcel in parcels]
            assert {result.outcome for result in self.provider.send(sender, again, NOW)} == {Outcome.ACCEPTED}
        assert len(self.received()) == len(parcels)

    def test_the_connection_can_be_tried(self) -> None:
        self.serve(OK)
        before = len(self.received())
        assert self.provider.check(self.sender())
        assert len(self.received()) == before, "nothing is sent for it"

    def test_only_the_provider_is_believed(self) -> None:
        sender = self.sender()
        nothing = Call("POST", sender.callback, {}, {}, b"{}")
        with pytest.raises(NotGenuine):
            self.provider.hear(sender, nothing)
        for call in self.genuine("x1"):
            self.provider.hear(sender, call)
            for wrong in self.forged(call):
                with pytest.raises(NotGenuine):
                    self.provider.hear(sender, wrong)

    def test_what_it_tells_counts_once(self) -> None:
        account, sender = self.account(), self.sender()
        for call in self.genuine("x1"):
            heard = self.provider.hear(sender, call)
            assert heard.reports
            assert {report.provider_id for report in heard.reports} == {"x1"}
            assert reports.apply(account, heard.reports, NOW) == len(heard.reports)
            again = self.provider.hear(sender, call)
            assert reports.apply(account, again.reports, NOW) == 0
        assert ProviderReport.objects.filter(account=account).exists() == bool(self.genuine("x1"))

    def test_unknown_words_are_left_out(self) -> None:
        for call in self.strange():
            assert self.provider.hear(self.sender(), call).reports == []
