"""What publishing a draft would change."""

from django.utils.translation import gettext as _

from campaigns.flows import steps
from campaigns.flows.definition import Definition, Step, parse, walk
from campaigns.models import Flow


def changes(flow: Flow) -> dict[str, list[str]]:
    """Compare the draft with the live version.

    Returns:
        What was `added`, `removed`, `changed` and `moved`, each thing in a few words; empty lists when nothing
        was. Everything is `added` while the flow was never published.
    """
    draft = parse(flow.draft)
    live = parse(flow.live_version.definition) if flow.live_version else Definition()
    before = {step.key: step for step, _depth in walk(live.steps)}
    after = {step.key: step for step, _depth in walk(draft.steps)}
    kept = [key for key in after if key in before]
    changed = [key for key in kept if _settings(after[key]) != _settings(before[key])]
    followers_before, followers_after = _places(live.steps), _places(draft.steps)
    return {
        "added": [_words(step) for key, step in after.items() if key not in before],
        "removed": [_words(step) for key, step in before.items() if key not in after],
        "changed": [_words(after[key]) for key in changed] + _entry_changes(live, draft, flow),
        "moved": [
            _words(after[key])
            for key in kept
            if _before(followers_before, key, after) != _before(followers_after, key, before)
        ],
    }


def _settings(step: Step) -> tuple:
    return step.kind, step.config, [(branch.name, branch.rule) for branch in step.branches]


def _places(sequence: list[Step], place: str = "") -> dict[str, tuple[str, list[str]]]:
    """Of each step, its sequence and the keys before it there."""
    found = {}
    for index, step in enumerate(sequence):
        found[step.key] = (place, [earlier.key for earlier in sequence[:index]])
        for number, branch in enumerate(step.branches):
            found |= _places(branch.steps, f"{step.key}:{number}")
    return found


def _before(places: dict[str, tuple[str, list[str]]], key: str, common: dict) -> tuple[str, list[str]]:
    """Where a step stands among those that both versions have, so that an addition moves nobody."""
    place, earlier = places[key]
    return place, [other for other in earlier if other in common]


def _entry_changes(live: Definition, draft: Definition, flow: Flow) -> list[str]:
    if flow.live_version is None:
        return []
    parts = {
        _("What starts it"): live.trigger != draft.trigger,
        _("The entry rule"): live.entry != draft.entry,
        _("Who may enter again"): (live.key, live.reentry) != (draft.key, draft.reentry),
        _("What ends it early"): live.exit_on != draft.exit_on,
    }
    return [part for part, differs in parts.items() if differs]


def _words(step: Step) -> str:
    kind = steps.registry.get(step.kind)
    return f"{kind.label}: {kind.summary(step)}" if kind else step.kind
