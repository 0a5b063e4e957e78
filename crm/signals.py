"""What the CRM layer tells the layers above. Signals carry ids and names, never objects."""

from django.dispatch import Signal

# After commit. names: set of event names that were stored.
events_recorded = Signal()

# Inside the merging transaction. pairs: list of (loser id, winner id); receivers re-point their own rows and write
# down which: moved is {loser id: dict}, see crm.merging.repoint.
profiles_merging = Signal()

# Inside the transaction that undoes a merge. loser, winner: ids; moved: the dict of that loser; receivers give back
# what they re-pointed.
profiles_unmerging = Signal()

# Inside the erasing transaction. profile_ids: list; receivers delete what they keep about these people.
profiles_erased = Signal()
