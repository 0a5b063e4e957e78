"""What every channel must do. A channel's test class inherits these and says how to reach a person through it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from delivery import channels, content, dispatch
from delivery.channels.base import Channel, Outcome, Result
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.delivery.world import NOW

State = Delivery.State


@pytest.mark.django_db
class ChannelConformance:
    """Set `kind` and `good` (authored content with a {{ variable }} in `templated`); fill in the two hooks."""

    kind: str
    good: dict[str, Any]
    templated: str

    def reach(self, profile: Any) -> None:
        """Give `profile` an address on this channel."""

    def fail(self, profile: Any, outcome: Outcome) -> None:
        """Make the provider answer the next message to `profile` so that it means `outcome`."""
        raise NotImplementedError

    def received(self) -> int:
        """How many messages the provider has taken."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _provider(self) -> None:
        """Overridden where a provider has to be started."""

    @property
    def channel(self) -> Channel:
        return channels.get(self.kind)

    def people(self, count: int) -> list[Any]:
        found = [world.person(number, channels=[self.kind]) for number in range(count)]
        for profile in found:
            self.reach(profile)
        return found

    def queue(self, profiles: list[Any]) -> list[Delivery]:
        return world.queue(world.message(channel=self.kind, content=self.good), profiles, self.kind)

    def test_it_is_registered_and_described(self) -> None:
        assert self.channel.kind == self.kind
        assert str(self.channel.label)
        assert issubclass(self.channel.Config, msgspec.Struct)
        assert isinstance(self.channel.repeatable, bool)

    def test_good_content_has_no_problems_and_survives_a_round_trip(self) -> None:
        assert self.channel.problems(self.good) == []
        filled = self.channel.compile(self.good).render({"profile": {"first_name": "Ann"}})
        assert isinstance(filled, self.channel.Config)

    def test_bad_content_is_named_at_its_field(self) -> None:
        for bad in ("{{ unclosed", "{% nonsense %}", "{{ 1 | no_such_filter }}"):
            [problem] = self.channel.problems({**self.good, self.templated: bad})
            assert problem.field == self.templated
            assert "1" in problem.message
        [problem] = self.channel.problems({**self.good, "no_such_field": 1})
        assert isinstance(problem, content.ContentError)

    def test_the_form_lays_out_every_field(self) -> None:
        form = self.channel.Form
        assert sorted((*form.main, *form.more)) == sorted(form.base_fields)

    def test_the_form_gives_back_what_it_was_given(self) -> None:
        form = self.channel.Form(initial=self.good)
        data = {name: field.initial for name, field in form.fields.items()} | form.initial
        filled = self.channel.Form({k: v for k, v in data.items() if v is not None}, initial=self.good)
        assert filled.is_valid(), filled.errors
        assert msgspec.convert(filled.content(), self.channel.Config) == msgspec.convert(
            self.good, self.channel.Config
        )

    def test_people_without_an_address_are_left_out(self) -> None:
        [reached] = self.people(1)
        other = world.person(9, email=None, channels=[self.kind])
        assert set(self.channel.addresses([reached.pk, other.pk])) == {reached.pk}

    def test_every_parcel_gets_one_result(self) -> None:
        deliveries = self.queue(self.people(5))
        result = dispatch.run(NOW)
        assert (result.sent, self.received()) == (5, 5)
        assert Attempt.objects.filter(outcome=Outcome.ACCEPTED, finished_at__isnull=False).count() == 5
        assert set(Delivery.objects.values_list("pk", "state")) == {(d.pk, State.SENT) for d in deliveries}

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [
            (Outcome.GONE, State.FAILED),
            (Outcome.REFUSED, State.FAILED),
            (Outcome.RETRY, State.DEFERRED),
            (Outcome.CONFIGURATION, State.DEFERRED),
        ],
    )
    def test_one_persons_trouble_is_theirs_alone(self, outcome: Outcome, state: str) -> None:
        people = self.people(3)
        deliveries = self.queue(people)
        self.fail(people[1], outcome)
        dispatch.run(NOW)
        found = Delivery.objects.in_bulk([delivery.pk for delivery in deliveries])
        assert [found[delivery.pk].state for delivery in deliveries] == [State.SENT, state, State.SENT]
        assert found[deliveries[1].pk].reason
        assert Attempt.objects.get(delivery=deliveries[1]).outcome == outcome

    def test_what_was_silent_is_repeated_only_where_that_shows_nothing_twice(self) -> None:
        from delivery.dispatch.claim import claim
        from delivery.dispatch.lanes import Lane
        from delivery.dispatch.lease import LEASE, Lease

        [delivery] = self.queue(self.people(1))
        claimed = claim(Lane(self.kind), NOW, 10)
        next(Lease(claimed.parcels, claimed.leased_at, claimed.marked).parcels())  # and the worker dies
        later = NOW + LEASE + timedelta(seconds=30)  # it began when the texts were ready
        assert dispatch.run(NOW).idle, "the lease holds"
        assert dispatch.run(later).recovered == 1
        delivery.refresh_from_db()
        if self.channel.repeatable:
            assert (delivery.state, self.received()) == (State.SENT, 1)
        else:
            assert (delivery.state, delivery.reason, self.received()) == (State.FAILED, "unknown outcome", 0)


def answer_with(outcome: Outcome) -> Any:
    """An answer of the remembering channel."""
    return lambda parcel: Result(parcel.number, outcome, None, "told to")
