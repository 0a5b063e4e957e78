"""The dialog that asks what a copy of a message is called."""

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from delivery.models import Message


class DuplicateForm(BaseDialogForm):
    """What the copy is called."""

    copy_name = forms.CharField(label=_("Name"), max_length=200, widget=UnfoldAdminTextInputWidget)

    def __init__(self, request: Any, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        known = (
            Message.objects.filter(pk=object_id).values_list("name", flat=True).first()
            if str(object_id or "").isdigit()
            else None
        )
        kwargs.setdefault("initial", {"copy_name": gettext("Copy of %s") % known if known else ""})
        super().__init__(request, object_id, *args, **kwargs)
