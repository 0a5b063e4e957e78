"""What every installation has besides its tables: sweeps on the schedule, partitions, the push key pair, sandboxes."""

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from crm import log, partitions
from delivery import accounts, vapid
from delivery.whatsapp import templates


class Command(BaseCommand):
    """`manage.py nudge_setup`"""

    help = "Set up the sweeps, the event log's partitions and the push key pair; safe to run again."

    def handle(self, *args: object, **options: object) -> None:
        """Create what is missing; what an administrator changed or switched off stays so."""
        log.rebase()
        partitions.ensure_ahead(timezone.now())
        vapid.get_or_create()
        accounts.ensure_sandboxes()
        templates.ensure_samples()
        schedule_sweeps()


@transaction.atomic
def schedule_sweeps() -> None:
    """Put the sweeps of settings.NUDGE_SWEEPS on beat's schedule."""
    for task, sweep in settings.NUDGE_SWEEPS.items():
        seconds = int(sweep["schedule"].run_every.total_seconds())
        interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.get_or_create(
            name=f"Nudge: {task}",
            defaults={
                "task": task,
                "interval": interval,
                "queue": sweep["queue"],
                # A sweep that waited longer than its interval is made up for by the next one.
                "expire_seconds": max(seconds, 10),
            },
        )
