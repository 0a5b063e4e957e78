"""What a flow means, one person and one event at a time: slow, obvious, and independent of the engine."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass
class Happened:
    """An event as it stands in the log."""

    person: int
    name: str
    at: datetime
    properties: dict


@dataclass
class Run:
    """One person's way through one version."""

    definition: dict
    start: Happened
    key: str
    entered: datetime
    path: list[tuple[dict, str]]  # what is left to do: (step, state)
    state: str = "active"
    reason: str = ""
    until: datetime | None = None
    decisions: list[tuple[str, str]] = field(default_factory=lambda: [("", "entered")])
    messages: list[str] = field(default_factory=list)

    def end(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason


class Reference:
    """One flow and its people."""

    def __init__(self, definition: dict, since: datetime):
        self.live, self.definition, self.since = True, definition, since
        self.log: list[Happened] = []
        self.read_up_to = 0
        self.runs: dict[int, list[Run]] = {}
        self.kept_out: dict[int, int] = {}

    def publish(self, definition: dict, now: datetime) -> None:
        if not self.live or definition["trigger"] != self.definition["trigger"]:
            self.since = now
        self.live, self.definition = True, definition

    def pause(self) -> None:
        self.live = False

    def resume(self, now: datetime) -> None:
        self.live, self.since = True, now

    def work(self, now: datetime) -> None:
        """Read what is new in the log, then let everybody move on."""
        while self.read_up_to < len(self.log):
            event = self.log[self.read_up_to]
            self._start(event, now)
            self._exit(event)
            self.read_up_to += 1
        for runs in self.runs.values():
            for run in runs:
                while self.live and run.state == "active" and self._step(run, now):
                    pass

    def _start(self, event: Happened, now: datetime) -> None:
        definition = self.definition
        if not self.live or event.at < self.since or not means(definition["trigger"], event):
            return
        if "entry" in definition and not self._holds(definition["entry"], event.person):
            self.kept_out[event.person] = self.kept_out.get(event.person, 0) + 1
            return
        runs = self.runs.setdefault(event.person, [])
        key = key_of(definition, event)
        if definition.get("key"):
            if key is None or any(run.key == key for run in runs):
                return
        else:
            key, mode = "", definition["reentry"]["mode"]
            inside = any(run.state == "active" for run in runs)
            if inside or (mode == "never" and runs):
                return
            days = timedelta(days=definition["reentry"].get("days", 0))
            if mode == "after" and any(run.entered > now - days for run in runs):
                return
        run = Run(definition, event, key, now, [(step, "") for step in definition["steps"]])
        runs.append(run)
        for trigger in definition["exit_on"]:
            if run.state == "active" and any(ends(run, trigger, old) for old in self.log[: self.read_up_to]):
                leave_early(run, trigger["name"])

    def _exit(self, event: Happened) -> None:
        for run in self.runs.get(event.person, []):
            for trigger in run.definition["exit_on"]:
                if run.state == "active" and ends(run, trigger, event):
                    leave_early(run, event.name)

    def _step(self, run: Run, now: datetime) -> bool:
        """Take one step; False when the run has to wait, or is over."""
        step = run.path[0][0]
        kind, config = step["kind"], step.get("config", {})
        if kind == "wait" and run.until is None:
            run.until = now + timedelta(**{config["unit"]: config["amount"]})
            run.decisions.append((step["key"], "wait:wait"))
        if kind == "wait" and run.until > now:
            return False
        run.until = None
        run.path.pop(0)
        if kind == "exit":
            run.decisions.append((step["key"], "exit:leave"))
            run.end("completed", config.get("reason") or "exit step")
            return False
        run.decisions.append((step["key"], f"{kind}:go_on"))
        if kind == "message":
            run.messages.append(step["key"])
        if kind == "split":
            for branch in step["branches"]:
                if "rule" not in branch or self._holds(branch["rule"], run.start.person):
                    run.path = [(inner, "") for inner in branch["steps"]] + run.path
                    break
        if not run.path:
            run.end("completed", "")
        return bool(run.path)

    def _holds(self, rule: dict, person: int) -> bool:
        """Only rules of the form: has ever done this."""
        return any(event.person == person and event.name == rule["name"] for event in self.log)


def means(trigger: dict, event: Happened) -> bool:
    return event.name == trigger["name"] and all(
        isinstance(value := event.properties.get(where["property"]), int) and value >= where["value"]
        for where in trigger.get("where", [])
    )


def key_of(definition: dict, event: Happened) -> str | None:
    value = event.properties.get((definition.get("key") or "").removeprefix("properties."))
    return None if value is None else f"key:{value}"


def ends(run: Run, trigger: dict, event: Happened) -> bool:
    """Whether an event ends a run: a later one than what started it, of its own key or of none."""
    key = key_of(run.definition, event) if run.definition.get("key") else None
    return (
        event.person == run.start.person
        and event is not run.start
        and means(trigger, event)
        and event.at >= run.start.at
        and key in (None, run.key)
    )


def leave_early(run: Run, reason: str) -> None:
    run.decisions.append((run.path[0][0]["key"], "exited"))
    run.end("exited", reason)
