"""The ledger adds up: whatever providers answer, every delivery is in exactly one state, with one log event."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from crm import consent, partitions
from crm.models import Event
from delivery import channels, dispatch
from delivery.channels.base import Outcome, Result
from delivery.channels.memory import Memory
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.delivery.world import NOW

State = Delivery.State
ANSWERS = [Outcome.ACCEPTED, Outcome.GONE, Outcome.REFUSED, Outcome.RETRY, Outcome.CONFIGURATION, None]

people = st.lists(
    st.tuples(
        st.booleans(),  # agreed
        st.booleans(),  # has an address
        st.lists(
            st.sampled_from(ANSWERS), min_size=1, max_size=6
        ),  # the provider's answers, the last one for good
        st.integers(-1, 12),  # hours until it is too late
    ),
    min_size=1,
    max_size=6,
)


class TestLedger(TestCase):
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(people)
    def test_it_adds_up(self, people) -> None:
        partitions.forget()
        memory = channels.get("memory")
        assert isinstance(memory, Memory)
        memory.reset()
        message = world.message(content={"text": "Hi {{ profile.first_name }}"})
        script = {}
        for number, (agreed, reachable, answers, hours) in enumerate(people):
            profile = world.person(
                number, agrees=agreed, email=f"p{number}@example.com" if reachable else None
            )
            world.queue(message, [profile], expires_at=NOW + timedelta(hours=hours))
            script[profile.pk] = list(answers)

        def answer(parcel) -> Result:
            steps = script[parcel.delivery.profile_id]
            outcome = steps.pop(0) if len(steps) > 1 else steps[0]
            if outcome is None:
                raise TimeoutError("the provider's library fell over")
            return Result(parcel.number, outcome, 500, "told to")

        memory.answer = answer
        now = NOW
        for _ in range(200):
            dispatch.run(now)
            states = world.states()
            assert sum(states.values()) == len(people), "nobody is lost and nobody counts twice"
            waiting = Delivery.objects.filter(state__in=[*Delivery.WAITING, State.SENDING])
            if not waiting:
                break
            now = min(
                filter(None, [d.due_at if d.state != State.SENDING else d.lease_until for d in waiting])
            )
        else:
            raise AssertionError(f"still waiting at {now}: {states}")

        agreed_ids = {d.profile_id for d in Delivery.objects.all()} & set(
            consent.subscribed(list(script), "memory")
        )
        assert {parcel.delivery.profile_id for parcel in memory.sent} <= agreed_ids
        for delivery in Delivery.objects.all():
            events = list(
                Event.objects.filter(
                    profile_id=delivery.profile_id, source="nudge", name__startswith="message_"
                )
            )
            assert [event.name for event in events] == [dispatch.states.EVENTS[State(delivery.state)]]
            accepted = Attempt.objects.filter(delivery=delivery, outcome=Outcome.ACCEPTED).count()
            assert accepted == (1 if delivery.state == State.SENT else 0)
        memory.reset()


pytestmark = pytest.mark.django_db
