"""One bad name of a time zone never breaks a send, however it came into the table."""

from datetime import time, timedelta

import pytest

from crm import preferences
from crm.models import Profile
from crm.preferences import Wishes
from delivery import dispatch
from delivery.channels.memory import Memory
from tests.delivery import world

NOW = world.NOW  # 09:00 UTC


@pytest.mark.django_db
def test_everybody_in_the_batch_is_dealt_with_by_the_next_best_zone(memory: Memory):
    bad = ("Mars/Base", "../../etc/passwd", "x" * 5000, "Europe", "UTC+25", "")
    people = [world.person(number) for number in range(2 * len(bad) + 1)]
    for person in people:
        preferences.save(person.pk, Wishes(quiet_from=time(17), quiet_to=time(19)), NOW)
    for number, person in enumerate(people[:-1]):
        # In Japan it is 18:00.
        country = "JP" if number < len(bad) else None
        Profile.objects.filter(pk=person.pk).update(timezone=bad[number % len(bad)], country=country)
    Profile.objects.filter(pk=people[-1].pk).update(timezone="Asia/Tokyo")
    world.queue(world.message("hello"), people)
    dispatch.run(NOW)
    assert world.states() == {"sent": len(bad), "deferred": len(bad) + 1}
    dispatch.run(NOW + timedelta(hours=1))
    assert world.states() == {"sent": len(people)}
