"""The harness bites: each mistake in `mutants` breaks an invariant, and without it the same story breaks none."""

import pytest

from tests.crm.sync import stories
from tests.crm.sync.harness import hurry
from tests.crm.sync.harness import world as make
from tests.crm.sync.invariants import Broken
from tests.crm.sync.mutants import ALL, MUTANTS

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = 45
# The stories that tests of faults do not tell anyway.
UNTOLD = (stories.behind, stories.crashed, stories.deleted, stories.merged, stories.erased, stories.scored)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("story", UNTOLD, ids=lambda story: story.__name__)
def test_without_a_mistake_nothing_breaks(story, kind, settings, monkeypatch):
    hurry(monkeypatch)
    with make(kind, settings, PEOPLE) as world:
        story(world)


@pytest.mark.parametrize(
    ("mutant", "kind"),
    [pytest.param(mutant, kind, id=f"{mutant.name}-{kind}") for mutant in MUTANTS for kind in mutant.kinds],
)
def test_a_mistake_breaks_an_invariant(mutant, kind, settings, monkeypatch):
    hurry(monkeypatch)
    with make(kind, settings, PEOPLE) as world:
        mutant.mutate(monkeypatch, world)
        with pytest.raises(Broken) as caught:
            mutant.story(world)
    assert caught.value.number in mutant.caught, str(caught.value)
