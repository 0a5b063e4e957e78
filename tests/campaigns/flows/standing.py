"""People who stand at the first step of a flow, without a word in the log: for tests of what one step does."""

from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.flows import definition, engine, steps
from campaigns.flows.steps.base import Person
from campaigns.models import Decision, Enrollment, Flow


def step(kind: str, key: str = "s1", **config) -> dict:
    """A step as stored."""
    return {"key": key, "kind": kind, "config": config}


def stand(world, flow: Flow, people, key: str = "s1") -> list[int]:
    """Put (profile id, context) pairs at a step; the numbers of their runs."""
    runs = Enrollment.objects.bulk_create(
        Enrollment(
            flow=flow,
            version=flow.live_version,
            profile_id=profile_id,
            run_key=f"{key}-{number}-{Enrollment.objects.count()}",
            step=key,
            due_at=world.now,
            context=context,
            entered_at=world.now,
        )
        for number, (profile_id, context) in enumerate(people)
    )
    return [run.pk for run in runs]


def advance(world, **later) -> None:
    """Let time pass, then move everybody who is due."""
    world.now += engine.timedelta(**later)
    while engine.advance(world.now):
        pass


def queries(world, flow: Flow, people) -> int:
    """How many statements moving these people takes."""
    stand(world, flow, people)
    with CaptureQueriesContext(connection) as captured:
        engine.advance(world.now)
    return len(captured)


def facts(key: str = "s1", **about) -> list[dict]:
    """What a step decided, but for holding runs."""
    found = Decision.objects.filter(step=key, **about).exclude(kind__endswith=":wait").order_by("pk")
    return [row.detail for row in found]


def problems(kind: str, **config) -> set[str]:
    """The settings that keep such a step from being published."""
    return {path for path, _text in steps.registry[kind].problems(definition.Step("s1", kind, config))}


def rehearsed(world, kind: str, config: dict, people) -> list[dict]:
    """The facts that `rehearse` gives for (profile id, context) pairs."""
    asked = [
        Person(-1 - number, profile_id, 1, world.now, context, {}, "f")
        for number, (profile_id, context) in enumerate(people)
    ]
    outcomes = steps.registry[kind].rehearse(definition.Step("s1", kind, config), asked, world.now)
    return [outcomes[person.enrollment_id].facts for person in asked]


def form_of(kind: str, config: dict) -> dict:
    """The settings that the step's form makes of these, as a browser sends it back unchanged."""
    step_kind = steps.registry[kind]
    form = step_kind.Form(initial=step_kind.initial(config))
    data: dict[str, object] = {}
    for field in form:
        value = field.value()
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            data[f"{field.html_name}-name"] = [name for name, _text in value]
            data[f"{field.html_name}-value"] = [text for _name, text in value]
        elif value is not None and value is not False:
            data[field.html_name] = value
    from django.http import QueryDict

    posted = QueryDict(mutable=True)
    for name, value in data.items():
        posted.setlist(name, value if isinstance(value, list) else [value])
    sent = step_kind.Form(posted)
    assert sent.is_valid(), sent.errors
    return step_kind.stored(sent.cleaned_data)
