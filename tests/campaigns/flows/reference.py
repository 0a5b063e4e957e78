"""What a flow means, one person and one event at a time: slow, obvious, and independent of the engine."""

from collections.abc import Callable
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
    arrived: datetime | None = None  # when the wait before was over
    counts_from: datetime | None = None  # events that a wait is for
    woken: bool = False
    converted: bool = False
    decisions: list[tuple[str, str]] = field(default_factory=lambda: [("", "entered")])
    messages: list[str] = field(default_factory=list)

    @property
    def at(self) -> str:
        """The key of the step where it is; empty behind the last."""
        return self.path[0][0]["key"] if self.path else ""

    def end(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason


class Reference:
    """One flow and its people. `place` says where between 0 and 100 a person falls, by what is divided."""

    def __init__(self, definition: dict, since: datetime, place: Callable[[int, str], float]):
        self.live, self.definition, self.since, self.place = True, definition, since, place
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
            for run in self.runs.get(event.person, []):
                self._reach(run, event)
                self._exit(run, event)
                run.woken |= run.state == "active" and event.name in awaited(run)
            self.read_up_to += 1
        for runs in self.runs.values():
            for run in runs:
                if self.live and run.state == "active" and (run.woken or not run.until or run.until <= now):
                    self._take_up(run, now)

    def _take_up(self, run: Run, now: datetime) -> None:
        run.woken = False
        rule = run.definition.get("exit_rule")
        if rule and self._holds(rule, run.start.person):
            leave_early(run, "exit rule")
        while run.state == "active" and self._step(run, now):
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
        before = self.log[: self.read_up_to]
        if self.place(event.person, "holdout") < definition.get("holdout_percent", 0):
            run.path, run.decisions = [], [("", "held_out")]
            run.end("completed", "held out")
        for old in before:
            self._reach(run, old)
            self._exit(run, old)

    def _exit(self, run: Run, event: Happened) -> None:
        for trigger in run.definition["exit_on"]:
            if run.state == "active" and ends(run, trigger, event):
                leave_early(run, event.name)

    def _reach(self, run: Run, event: Happened) -> None:
        goal = run.definition.get("goal")
        if not goal or run.converted or not ends(run, goal, event):
            return
        if event.at <= run.entered + timedelta(days=goal["within_days"]):
            run.converted = True
            run.decisions.append((run.at, "converted"))
            if goal["exit"] and run.state == "active":
                leave_early(run, "goal")

    def _step(self, run: Run, now: datetime) -> bool:
        """Take one step; False when the run has to wait, or is over."""
        step = run.path[0][0]
        kind, config = step["kind"], step.get("config", {})
        if "condition" in step and run.until is None and not self._holds(step["condition"], run.start.person):
            run.decisions.append((step["key"], f"{kind}:skipped"))
            return self._pass(run, [], now)
        if kind in ("wait", "wait_for") and run.until is None:
            length = config["timeout"] if kind == "wait_for" else config
            # Who waits for something has been there since the wait before it was over, whoever looked when.
            begun = run.arrived or now if kind == "wait_for" else now
            run.until = begun + timedelta(**{length["unit"]: length["amount"]})
            run.counts_from = run.start.at if config.get("since") == "entry" else begun
            if run.until > now and not self._happened(run, now):
                run.decisions.append((step["key"], f"{kind}:wait"))
        happened = kind == "wait_for" and self._happened(run, now)
        if run.until and run.until > now and not happened:
            return False
        if kind == "exit":
            run.decisions.append((step["key"], "exit:leave"))
            run.end("completed", config.get("reason") or "exit step")
            return False
        run.decisions.append((step["key"], f"{kind}:go_on"))
        if kind == "message":
            run.messages.append(step["key"])
        return self._pass(run, self._branch(step, run, happened), now)

    def _pass(self, run: Run, branch: list[dict], now: datetime) -> bool:
        """Go on with a branch of the present step, if it has one, and with what follows it."""
        if run.until:
            run.arrived = min(run.until, now)
        run.until = None
        run.path = [(inner, "") for inner in branch] + run.path[1:]
        if not run.path:
            run.end("completed", "")
        return bool(run.path)

    def _branch(self, step: dict, run: Run, happened: bool) -> list[dict]:
        branches = step.get("branches", [])
        if step["kind"] == "wait_for":
            return branches[0 if happened else 1]["steps"]
        if step["kind"] == "random":
            place, end = self.place(run.start.person, step["key"]), 0.0
            for branch in branches:
                end += branch["percent"]
                if place < end:
                    return branch["steps"]
        if step["kind"] == "split":
            for branch in branches:
                if "rule" not in branch or self._holds(branch["rule"], run.start.person):
                    return branch["steps"]
        return []

    def _happened(self, run: Run, now: datetime) -> bool:
        """Whether what the present step waits for came, in time, however late it is looked at."""
        return any(
            event.person == run.start.person
            and event is not run.start
            and event.name in awaited(run)
            and run.counts_from <= event.at < run.until
            and event.at <= now
            for event in self.log
        )

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


def awaited(run: Run) -> set[str]:
    """The events that the step waits for at which a run is."""
    config = run.path[0][0].get("config", {}) if run.path else {}
    return {event["name"] for event in config.get("events", [])}


def leave_early(run: Run, reason: str) -> None:
    run.decisions.append((run.at, "exited"))
    run.end("exited", reason)
