"""What goes to a provider of WhatsApp."""

import msgspec


class WhatsAppPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A template filled in, or a text.

    `parameters` are the values of the template's body by name or number, `header` the address of its picture (or of a
    text's), `header_kind` image, video, document or text, and `header_name` the place in such words if it has a name.
    `buttons` are values by the button's kind and number from 0 ("url:0"). `shown` is what the phone shows, `labels` are
    the words on its buttons.
    """

    shown: str
    template: str = ""
    language: str = ""
    parameters: dict[str, str] = {}
    header: str = ""
    header_kind: str = ""
    header_name: str = ""
    buttons: dict[str, str] = {}
    text: str = ""
    labels: list[str] = []
