"""Who has come into which arm of an experiment."""

from django.db import models


class Exposure(models.Model):
    """The first time that somebody was treated as an arm of an experiment says; the event log tells it as well.

    Kept so that the log tells it once. There is no foreign key to the profile on purpose: sending must not wait for a
    merge, which waits for the deliveries that the dispatcher holds.
    """

    experiment = models.TextField()
    profile_id = models.BigIntegerField()
    arm = models.TextField()
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["experiment", "profile_id"], name="one_exposure_per_person")
        ]
        indexes = [models.Index(fields=["profile_id"], name="exposure_by_profile")]


class HoldoutMonth(models.Model):
    """What people did who came into one side of a holdout in one month, as last counted from the event log.

    Kept so that what messages bring is shown at once. `value` is the sum over people, `value_squares` of the squares of
    theirs.
    """

    experiment = models.TextField()
    month = models.TextField()  # such as 2026-03
    arm = models.TextField()
    exposed = models.BigIntegerField()
    converted = models.BigIntegerField()
    value = models.FloatField()
    value_squares = models.FloatField()
    counted_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["experiment", "month", "arm"], name="one_count_per_holdout_and_month"
            )
        ]
