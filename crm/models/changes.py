"""What has changed about people and is yet to be noticed by those who watch."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Change(models.Model):
    """One person of whom something has changed that somebody watches; triggers write it, see crm/changes.py.

    Without a person it says that anything may have changed about anybody.
    """

    profile_id = models.BigIntegerField(null=True)
    fields = ArrayField(models.TextField())

    class Meta:
        default_permissions = ()


class Watch(models.Model):
    """One kind of change that somebody wants to hear of, since the transaction `txid`."""

    field = models.TextField(primary_key=True)
    txid = models.BigIntegerField()

    class Meta:
        default_permissions = ()


class AttributeWatch(models.Model):
    """A field whose changes become events of the log; see crm/attribute_changes.py.

    `path` leads to it in the attributes, `attribute_id` is of a computed attribute, of which who has no row has
    `fallback`. When `outlined`, its values are not told.
    """

    field = models.TextField(primary_key=True)
    path = ArrayField(models.TextField(), null=True)
    attribute_id = models.BigIntegerField(null=True)
    fallback = models.JSONField(null=True)
    outlined = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()
