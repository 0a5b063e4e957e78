"""The email channel against a real SMTP server, and what its compiler does with words and values."""

import html as html_module
import re
from typing import Any

import msgspec
import pytest
from django.template.loader import render_to_string
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery import channels, dispatch
from delivery.channels.base import Outcome
from delivery.content.brand import Brand
from delivery.email import keeping, layouts
from delivery.email import text as plain_text
from delivery.email.compiling import CompiledEmail
from delivery.models import Account, EmailLayout
from delivery.providers import smtp
from tests.delivery import world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.email.sink import Sink, running
from tests.delivery.world import NOW

ANSWERS = {
    Outcome.GONE: "550 5.1.1 no such mailbox",
    Outcome.REFUSED: "554 5.7.1 looks like spam",
    Outcome.RETRY: "451 4.7.1 come back later",
    Outcome.CONFIGURATION: "530 5.7.0 who are you?",
}
BRAND = Brand(
    name="Kahwa & Co",
    postal_address="1 Road\nLondon",
    website="https://kahwa.example",
    logo="",
    logo_width=120,
    accent="#0b6e4f",
    text_colour="#222222",
    background="#eeeeee",
    surface="#ffffff",
    heading_font="Georgia, serif",
    body_font="Arial, sans-serif",
    social={"x": "https://x.com/kahwa"},
    sender_name="Kahwa",
    sender_email="",
    reply_to="",
)
LINKS = {"unsubscribe_url": "https://n.example/p/t/unsubscribe/", "preferences_url": "https://n.example/p/t/"}


def account(sink: Sink, **config: Any) -> Account:
    """An account at the sink."""
    return Account.objects.create(
        name="Mail",
        slug="mail",
        channel="email",
        provider="smtp",
        config={
            "host": "127.0.0.1",
            "port": sink.port,
            "security": "none",
            "from_address": "news@shop.example",
            "from_name": "Kahwa",
            **config,
        },
    )


class TestConformance(ChannelConformance):
    kind = "email"
    good = {"subject": "Hello {{ profile.first_name }}", "blocks": [{"kind": "text", "text": "Hi"}]}
    templated = "subject"

    @pytest.fixture(autouse=True)
    def _provider(self, db: None) -> Any:
        with running() as self.sink:
            account(self.sink)
            yield
            smtp.pool.clear()

    def fail(self, profile: Any, outcome: Outcome) -> None:
        self.sink.rcpt[profile.email] = ANSWERS[outcome]

    def received(self) -> int:
        return len(self.sink.mails)


@pytest.mark.django_db
def test_what_arrives_is_what_was_written(settings) -> None:
    settings.NUDGE_PUBLIC_URL = "https://nudge.example.com"
    wanted = {
        "subject": "Zażółć {{ profile.first_name }}",
        "preheader": "For you",
        "reply_to": "help@shop.example",
        "blocks": [
            {
                "kind": "text",
                "text": "Hello {{ profile.first_name }}, **big** [offer](https://shop.example/a)",
            }
        ],
    }
    with running() as sink:
        account(sink)
        ann = world.person(1, channels=["email"], first_name='<b>"Ann" & Co', language="pl")
        uncounted = world.message(channel="email", content=wanted, tracking="off")
        [delivery] = world.queue(uncounted, [ann], "email")
        assert dispatch.run(NOW).sent == 1
        smtp.pool.clear()
        mail = sink.to(ann.email)
    message, raw = mail.parsed, mail.raw
    assert mail.sender == "news@shop.example"
    assert message["Subject"] == 'Zażółć <b>"Ann" & Co'
    assert (message["From"], message["To"]) == ("Kahwa <news@shop.example>", ann.email)
    assert message["Reply-To"] == "help@shop.example"
    assert message["Message-ID"].endswith("@shop.example>")
    assert re.search(rb"(?m)^List-Unsubscribe-Post: List-Unsubscribe=One-Click\r$", raw)
    leave = re.search(rb"(?m)^List-Unsubscribe: <(https://nudge\.example\.com/p/[^>]+/unsubscribe/)>\r$", raw)
    assert leave, "one header line, not encoded, not folded"
    assert message["Feedback-ID"].startswith(f"flow7:{delivery.message_id}:marketing:")
    assert message["Auto-Submitted"] == "auto-generated"
    html = message.get_body(("html",)).get_content()
    text = message.get_body(("plain",)).get_content()
    assert "Hello &lt;b&gt;&#34;Ann&#34; &amp; Co, <strong>big</strong>" in html
    assert 'Hello <b>"Ann" & Co, big offer (https://shop.example/a)' in text
    assert leave[1].decode() in html
    assert leave[1].decode() in text
    assert "Unsubscribe" in html
    assert 'content="light dark"' in html
    delivery.refresh_from_db()
    assert "blocks" not in delivery.content
    keeping._mine.held.clear()
    shown = keeping.html(delivery.content)
    assert shown.split() == html.split(), "what is kept is what was sent"
    assert EmailLayout.objects.count() == 1


@pytest.mark.django_db
def test_what_nobody_can_leave_says_so_by_no_header() -> None:
    channel = channels.get("email")
    ann = world.person(1, channels=["email"])
    message = world.message(channel="email", content=TestConformance.good)
    [delivery] = world.queue(message, [ann], "email")
    filled = channel.compile(TestConformance.good).render({"profile": {}, **LINKS})
    assert "List-Unsubscribe" in channel.compose(delivery, filled).headers
    delivery.transactional = True
    assert not {"List-Unsubscribe", "Precedence"} & channel.compose(delivery, filled).headers.keys()


ASSIGNED = (
    "<mjml><mj-body>{% assign a = 'x' %}<mj-section><mj-column><mj-text>{{ a }}</mj-text></mj-column>"
    "</mj-section></mj-body></mjml>"
)


def filled(data: dict[str, Any] | None = None, **content: Any) -> tuple[str, str]:
    """HTML and text of an email for somebody."""
    email = CompiledEmail({"subject": "Hi", **content}, BRAND).render({**LINKS, **(data or {})})
    kept = msgspec.to_builtins(email)
    return keeping.html(kept), keeping.plain(kept)


def test_every_way_to_write_a_body_gets_a_footer_unless_it_has_one() -> None:
    for body in (
        {"blocks": [{"kind": "heading", "text": "Hi"}]},
        {
            "mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>Hi<br></mj-text></mj-column>"
            "</mj-section></mj-body></mjml>"
        },
        {"html": "<html><body><p>Hi</p></body></html>"},
    ):
        html, text = filled(**body, preheader="Look")
        assert html.count(LINKS["unsubscribe_url"]) == text.count(LINKS["unsubscribe_url"]) == 1
        assert "Kahwa &amp; Co" in html
        assert "1 Road" in text
        assert ("Look" in html, "Look" in text) == (True, False)
    html, text = filled(html="<body><a href='{{ unsubscribe_url }}'>Leave</a></body>")
    assert html == f"<body><a href='{LINKS['unsubscribe_url']}'>Leave</a></body>"
    assert filled(html="<p>x</p>", text="My words")[1].startswith("My words\n\n-- \nKahwa & Co\n")


def test_blocks_become_a_whole_email() -> None:
    data = {
        "event": {
            "properties": {"items": [{"title": "Tea & more", "url": "https://s.example/t", "price": 3}]}
        }
    }
    html, text = filled(
        data,
        blocks=[
            {"kind": "logo"},
            {
                "kind": "image",
                "src": "https://s.example/a.png?x=1&y=2",
                "alt": 'A "cup"',
                "href": "https://s.example",
            },
            {"kind": "button", "label": "Go & see", "href": "https://s.example/?a=1&b=2"},
            {
                "kind": "columns",
                "left": [{"kind": "products"}],
                "right": [{"kind": "text", "text": "- one\n- two"}],
            },
            {"kind": "divider"},
            {"kind": "spacer", "height": 30},
            {"kind": "social"},
            {"kind": "html", "html": "<table><tr><td>raw</table>"},
        ],
    )
    assert 'alt="A &quot;cup&quot;"' in html
    assert 'src="https://s.example/a.png?x=1&amp;y=2"' in html
    assert not re.search(r"https?://(?!s\.example|x\.com|n\.example|www\.w3\.org)", html), (
        "readers call nobody else"
    )
    for words in (
        "Go & see (https://s.example/?a=1&b=2)",
        "Tea & more (https://s.example/t)",
        "- two",
        "raw",
        "X (https://x.com/kahwa)",
    ):
        assert words in text


def test_products_are_linked_and_priced_as_the_catalogue_and_as_shops_tell_of_them() -> None:
    catalogue = {"title": "Tea", "link": "https://s.example/tea", "price": 1234.5, "currency": "PLN"}
    told = {
        "name": "Cup",
        "url": "https://s.example/cup",
        "image_url": "https://s.example/c.png",
        "price": "ask us",
    }
    html, text = filled(
        {"recommended": [catalogue, told, {"name": "Bare"}]},
        blocks=[{"kind": "products", "items": "recommended", "price": True, "label": "Look"}],
    )
    for words in (
        "Tea (https://s.example/tea)",
        "PLN1,234.50",
        "Cup (https://s.example/cup)",
        "ask us",
        "Bare",
    ):
        assert words in text.replace("\xa0", "")
    assert text.count("Look") == 2
    assert 'src="https://s.example/c.png"' in html


def test_links_to_leave_stand_in_the_text_behind_what_holds_for_the_rest_of_a_body() -> None:
    _html, text = filled(mjml=ASSIGNED)
    assert f"Choose what you get ({LINKS['preferences_url']})" in text
    content = {"subject": "Hi", "blocks": [{"kind": "products", "items": "recommended"}]}
    kept = CompiledEmail(content, BRAND).render({**LINKS, "recommended": [{"title": "Tea"}]})
    assert max(map(len, kept.values)) < 1000, "what everybody gets alike is not kept with each delivery"


def test_letters_tell_the_direction() -> None:
    html, _text = filled(blocks=[{"kind": "text", "text": "مرحبا {{ profile.first_name }}"}])
    assert 'dir="rtl"' in html
    assert "direction:rtl" in html
    assert 'dir="rtl"' not in filled(blocks=[{"kind": "text", "text": "Hello مرحبا there"}])[0]


def test_the_footer_speaks_the_language_of_the_words() -> None:
    email = CompiledEmail({"subject": "Hej", "blocks": [{"kind": "heading", "text": "Hej"}]}, BRAND)
    html = keeping.html(msgspec.to_builtins(email.render(LINKS, locale="pl-PL")))
    assert "Wypisz się" in html
    assert 'lang="pl-PL"' in html


def test_loops_in_mjml_survive() -> None:
    source = (
        "<mjml><mj-body>{% for item in items %}<mj-section><mj-column><mj-text>{{ item }}</mj-text></mj-column>"
        "</mj-section>{% endfor %}{% assign a = 'kept' %}<mj-section><mj-column><mj-text>{{ a }}</mj-text>"
        "</mj-column></mj-section></mj-body></mjml>"
    )
    _html, text = filled({"items": ["one", "two"]}, mjml=source)
    assert text.split()[:3] == ["one", "two", "kept"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        ({}, "blocks", "no body"),
        ({"blocks": [{"kind": "spacer"}], "html": "x"}, "html", "one way"),
        ({"mjml": "<mjml>\n<mj-foo/></mjml>"}, "mjml", "line 2"),
        ({"mjml": "<mjml>\n<mj-body>"}, "mjml", "line 2: <mj-body> is not closed"),
        ({"mjml": "<mjml><mj-body>\n<mj-section>\n</mj-body></mjml>"}, "mjml", "line 2: <mj-section> is not"),
        (
            {"mjml": "<mjml><mj-body></mj-body>\n</mj-text></mjml>"},
            "mjml",
            "line 2: </mj-text> closes nothing",
        ),
        ({"mjml": "hello <b>there"}, "mjml", "begins with <mjml>"),
        (
            {"blocks": [{"kind": "spacer"}, {"kind": "products", "items": "my list!"}]},
            "blocks",
            "Block 2: Write",
        ),
        ({"blocks": [{"kind": "columns", "first": 5}]}, "blocks", "Block 1: “Width of the first in percent”"),
        ({"blocks": [1, 2]}, "blocks", "Block 1"),
        ({"mjml": "<mjml><mj-body><mj-include path='/etc/passwd'/></mj-body></mjml>"}, "mjml", "mj-include"),
        ({"html": "<a href='/cart'>x</a>"}, "html", "whole address"),
        ({"html": "<a href='javascript:alert(1)'>x</a>"}, "html", "whole address"),
        ({"html": "<img src='cup.png'>"}, "html", "whole address"),
        ({"html": "{% if x %}"}, "html", "line 1"),
        ({"blocks": [{"kind": "button", "label": "x"}]}, "blocks", "Block 1"),
        (
            {"blocks": [{"kind": "spacer"}, {"kind": "image", "src": "https://x.example/a.png"}]},
            "blocks",
            "Block 2",
        ),
        ({"blocks": [{"kind": "text", "text": "{{ unclosed"}]}, "blocks", "Block 1"),
        ({"blocks": [{"kind": "nonsense"}]}, "blocks", ""),
        ({"blocks": [{"kind": "spacer"}], "from_address": "nobody"}, "from_address", "not an email"),
    ],
)
def test_mistakes_are_told_at_their_field(content: dict[str, Any], field: str, says: str) -> None:
    [problem] = channels.get("email").problems({"subject": "Hi", **content})
    assert problem.field == field
    assert says in problem.message


VALUES = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_no_value_can_become_markup(value: str) -> None:
    blocks = [
        {"kind": "text", "text": "+{{ value }}+"},
        {"kind": "image", "src": "https://x.example/a.png", "alt": "+{{ value }}+"},
        {"kind": "html", "html": '<p title="{{ value }}">x</p>'},
    ]
    html, text = filled({"value": value}, blocks=blocks)
    bare, _text = filled({"value": "v"}, blocks=blocks)
    assert (
        re.findall("<[^<>]*", re.sub('"[^"]*"', '""', html))
        == re.findall("<[^<>]*", re.sub('"[^"]*"', '""', bare))
        or "<" in bare
    )
    assert html.count("<") == bare.count("<")
    assert html.count(">") == bare.count(">")
    assert html.count('"') == bare.count('"')
    assert f"+{html_module.escape(value).replace('&quot;', '&#34;').replace('&#x27;', '&#39;')}+" in html


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "{{ x }}",
                "{% if x %}",
                "{% endif %}",
                "{% assign y = 1 %}",
                "<p>",
                "{% for i in x %}",
                "{% endfor %}",
                "{% raw %}",
                "{% endraw %}",
            ]
        ),
        max_size=12,
    )
)
def test_cutting_loses_nothing(pieces: list[str]) -> None:
    source = "".join(pieces)
    assert "".join(piece for piece, _liquid in layouts.regions(source)) == source


def test_addresses_that_are_filled_in_are_looked_at() -> None:
    from delivery.content import ContentError

    body = [{"kind": "button", "label": "Go", "href": "{{ event.properties.url }}"}]
    assert (
        'href="https://s.example/x"'
        in filled({"event": {"properties": {"url": "https://s.example/x"}}}, blocks=body)[0]
    )
    for bad in ("javascript:alert(1)", "/cart", "data:text/html,x"):
        with pytest.raises(ContentError):
            filled({"event": {"properties": {"url": bad}}}, blocks=body)


def test_text_is_made_of_what_readers_see() -> None:
    html = (
        "<head><title>T</title><style>p{}</style></head><div style='display: none'>hidden<p>too</div>"
        "<h1>A</h1><p>b<br>c "
        "<a href='https://x.example'>l</a> <a href='mailto:a@x.example'>a@x.example</a></p><ul><li>1<li>2</ul>"
        "<img src=x alt='a cup'><hr>&amp;&nbsp;end"
    )
    assert (
        plain_text.from_html(html)
        == "A\n\nb\nc l (https://x.example) a@x.example\n\n- 1\n- 2\n\na cup\n\n---\n\n& end"
    )


def test_the_brand_sends_what_names_no_sender() -> None:
    looks = msgspec.structs.replace(BRAND, sender_email="hello@kahwa.example", reply_to="help@kahwa.example")
    words = {"subject": "Hi", "blocks": [{"kind": "text", "text": "Hi"}]}
    mail = CompiledEmail(words, looks).render({})
    assert (mail.from_name, mail.from_address, mail.reply_to) == (
        "Kahwa", "hello@kahwa.example", "help@kahwa.example",
    )  # fmt: skip
    own = CompiledEmail({**words, "from_address": "me@kahwa.example", "reply_to": "me@kahwa.example"}, looks)
    mail = own.render({})
    assert (mail.from_name, mail.from_address, mail.reply_to) == ("", "me@kahwa.example", "me@kahwa.example")
    assert CompiledEmail(words, BRAND).render({}).from_address == "", "the account's to say"


@pytest.mark.parametrize(("dark", "shown"), [({}, "max"), ({"dark": False}, "max"), ({"dark": True}, "min")])
def test_an_email_is_shown_in_the_dark_only_if_asked(dark: dict[str, bool], shown: str) -> None:
    mail = {"html": "<style>@media (prefers-color-scheme:dark) {}</style>", "subject": "Hi"}
    page = render_to_string("admin/delivery/email/mock.html", {"payload": mail, **dark})
    assert f"@media ({shown}-width: 0)" in page
