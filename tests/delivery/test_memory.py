"""The remembering channel is a channel like any other."""

from typing import Any

import pytest

from delivery.channels.base import Outcome
from delivery.channels.memory import Memory, accept
from tests.delivery.conformance import ChannelConformance, answer_with


class TestMemory(ChannelConformance):
    kind = "memory"
    good = {"text": "Hello {{ profile.first_name }}"}
    templated = "text"

    @pytest.fixture(autouse=True)
    def _provider(self, memory: Memory) -> None:
        self.memory = memory

    def fail(self, profile: Any, outcome: Outcome) -> None:
        bad = answer_with(outcome)
        self.memory.answer = lambda p: bad(p) if p.delivery.profile_id == profile.pk else accept(p)

    def received(self) -> int:
        return len(self.memory.sent)
