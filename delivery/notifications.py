"""What the forms of notifications have in common, on phones and in browsers."""

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy

from delivery.channels.base import ContentForm

URGENCIES = (("normal", gettext_lazy("normal")), ("high", gettext_lazy("high: wakes a sleeping phone")))


class NotificationForm(ContentForm):
    """Edits a notification. The content's list `actions` is shown as two fields for each of `buttons` buttons."""

    buttons: ClassVar[int] = 2
    title = forms.CharField(
        label=gettext_lazy("Title"),
        help_text=gettext_lazy("Phones show about 40 characters."),
        widget=forms.TextInput(attrs={"data-count": "40"}),
    )
    body = forms.CharField(
        label=gettext_lazy("Text"),
        required=False,
        help_text=gettext_lazy("About 120 characters stay visible without unfolding."),
        widget=forms.Textarea(attrs={"rows": 3, "data-count": "120"}),
    )
    action_1_title = forms.CharField(label=gettext_lazy("First button"), required=False)
    action_1_url = forms.CharField(label=gettext_lazy("First button opens"), required=False)
    action_2_title = forms.CharField(label=gettext_lazy("Second button"), required=False)
    action_2_url = forms.CharField(label=gettext_lazy("Second button opens"), required=False)
    tag = forms.CharField(
        label=gettext_lazy("Replaces"),
        required=False,
        help_text=gettext_lazy(
            "A newer notification with the same word, such as cart, replaces the older one."
        ),
    )
    urgency = forms.ChoiceField(
        label=gettext_lazy("Urgency"), required=False, initial="normal", choices=URGENCIES
    )
    ttl_hours = forms.IntegerField(
        label=gettext_lazy("Hours a sleeping device may take"),
        required=False,
        min_value=0,
        max_value=672,
        help_text=gettext_lazy("Empty: until the message itself is too late."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = dict(kwargs.pop("initial", None) or {})
        for number, action in enumerate(initial.pop("actions", []), start=1):
            initial |= {
                f"action_{number}_title": action["title"],
                f"action_{number}_url": action.get("url", ""),
            }
        kwargs["initial"] = initial
        super().__init__(*args, **kwargs)

    def content(self) -> dict[str, Any]:
        """The authored JSON as entered, the buttons as a list again."""
        values = super().content()
        words = [values.pop(name, "") for name in action_fields(self.buttons)]
        actions = [
            {"title": title, "url": url}
            for title, url in zip(words[::2], words[1::2], strict=True)
            if title or url
        ]
        return values | ({"actions": actions} if actions else {})


def action_fields(buttons: int) -> tuple[str, ...]:
    """Return the names of the fields of so many buttons, in order."""
    return tuple(f"action_{number}_{part}" for number in range(1, buttons + 1) for part in ("title", "url"))
