"""What an email says, as it is kept: who from, what about, and its body in one of three ways."""

from typing import Annotated, Literal

import msgspec

from delivery.content import Link

Text = Annotated[str, msgspec.Meta(min_length=1)]
Align = Literal["start", "center", "end"]
Pixels = Annotated[int, msgspec.Meta(ge=0, le=1200)]
MAX_BLOCKS = 100


class _Block(msgspec.Struct, tag_field="kind"):
    """A piece of the body; `kind` tells which."""


class Heading(_Block, tag="heading", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line in large letters."""

    text: str = ""
    level: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    align: Align = "start"


class Paragraphs(_Block, tag="text", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Text in Markdown: paragraphs, **bold**, *italic*, [links](https://…), lists."""

    text: str = ""
    align: Align = "start"


class Image(_Block, tag="image", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A picture; `alt` is what those see and hear who do not see it. `width` 0: as wide as there is room."""

    src: Link = ""
    alt: str = ""
    href: Link = ""
    width: Pixels = 0
    align: Align = "center"


class Button(_Block, tag="button", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A link that looks like a button."""

    label: str = ""
    href: Link = ""
    align: Align = "center"
    wide: bool = False


class Products(_Block, tag="products", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Pictures, names and prices of products. `items` is what Liquid calls the list."""

    items: Annotated[
        str, msgspec.Meta(pattern=r"^[a-zA-Z_][\w.\-\[\]\"']*( *\| *[a-z_]+(: *[\w\"'., -]+)?)*$")
    ] = "event.properties.items"
    limit: Annotated[int, msgspec.Meta(ge=1, le=12)] = 3
    label: str = ""
    price: bool = True


class Divider(_Block, tag="divider", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line across."""


class Spacer(_Block, tag="spacer", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Nothing, so many pixels high."""

    height: Annotated[int, msgspec.Meta(ge=1, le=400)] = 24


class Logo(_Block, tag="logo", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The brand kit's logo, or the company's name where there is none."""

    align: Align = "center"


class Social(_Block, tag="social", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Links to the brand kit's pages in social networks."""

    align: Align = "center"


class Footer(_Block, tag="footer", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The company's address and the person's own links to leave and to choose; `text` comes above them."""

    text: str = ""


class Html(_Block, tag="html", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """HTML as it is."""

    html: str = ""


Simple = Heading | Paragraphs | Image | Button | Products | Divider | Spacer | Logo | Social | Html


class Columns(_Block, tag="columns", kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Two columns, on a phone one below the other. `first` is the width of the first in percent."""

    left: Annotated[list[Simple], msgspec.Meta(max_length=20)] = []
    right: Annotated[list[Simple], msgspec.Meta(max_length=20)] = []
    first: Annotated[int, msgspec.Meta(ge=20, le=80)] = 50


Block = (
    Heading
    | Paragraphs
    | Image
    | Button
    | Products
    | Divider
    | Spacer
    | Logo
    | Social
    | Html
    | Columns
    | Footer
)


class Head(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What mail programs show of an email before it is opened, and its text part where somebody has written one."""

    subject: Text
    preheader: str = ""
    from_name: str = ""
    from_address: str = ""
    reply_to: str = ""
    to_name: str = ""
    text: str = ""


class EmailContent(Head, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An email. The body is one of `blocks`, `mjml` and `html`."""

    blocks: Annotated[list[Block], msgspec.Meta(max_length=MAX_BLOCKS)] = []
    mjml: str = ""
    html: str = ""
    direction: Literal["auto", "ltr", "rtl"] = "auto"


class FilledEmail(EmailContent, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One person's email as it is kept with the delivery: what differs from person to person, and the number of the
    layout that it goes into (`delivery.email.layouts`)."""

    layout: str = ""
    values: list[str] = []


class Attachment(msgspec.Struct, frozen=True):
    """A file that comes with an email; `kind` is its media type, such as text/csv; text is UTF-8."""

    name: str
    kind: str
    data: bytes


class EmailPayload(msgspec.Struct, kw_only=True):
    """What a provider is given. Empty sender fields are the account's to fill in; `headers` are ASCII."""

    to: str = ""
    to_name: str = ""
    from_address: str = ""
    from_name: str = ""
    reply_to: str = ""
    subject: str
    html: str
    text: str
    headers: dict[str, str] = {}
    message_id: str = ""
    attachments: list[Attachment] = []
