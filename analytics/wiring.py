"""Connects the analytics layer to what the layers below announce."""


def connect() -> None:
    """Called once when Django is ready."""
    from analytics import crm_values, tracking
    from analytics.reports import people
    from campaigns.segments import list_work
    from crm import signals
    from delivery import spool_drain

    signals.events_recorded.connect(wake_reader, dispatch_uid="analytics.wake_reader")
    spool_drain.handlers[tracking.KIND] = tracking.store_kept
    crm_values.offer()
    list_work.register(people.SOURCE, people.saved)


def wake_reader(names: set[str], **kwargs: object) -> None:
    """Something was stored in the log: bring engagement and conversions up to date. Called after commit."""
    from crm import wake

    wake.on_commit("analytics.tasks.read_log", "reports")
