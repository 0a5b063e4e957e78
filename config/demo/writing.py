"""What the demo's marketers have written for emails and texts: two messages, the brand, a snippet, quiet hours."""

from datetime import time
from typing import Any

from django.conf import settings
from django.templatetags.static import static

from delivery import accounts
from delivery.models import (
    BrandKit,
    FrequencyCap,
    Message,
    MessageContent,
    SendingHours,
    SendingRules,
    Snippet,
    SnippetText,
)
from delivery.models.policies import EVERY_DAY

LETTER, SHIPPED = "roasters-letter", "order-shipped"
HELLO = {
    "": 'Hello {{ profile.first_name | default: "there" }},',
    "ar": "أهلاً{% if profile.first_name %} {{ profile.first_name }}{% endif %}،",
    "pl": "Dzień dobry{% if profile.first_name %}, {{ profile.first_name }}{% endif %}!",
}
SUBJECTS = {
    "": (
        "{{ profile.first_name | default: 'Friend' }}, three coffees for cold mornings",
        "Roasted on Tuesday.",
    ),
    "ar": ("ثلاثة محاصيل لصباحات الشتاء", "حُمّصت يوم الثلاثاء."),
}
LETTERS = {
    "": {
        "title": "Winter roasts are here",
        "text": "{{ snippets.hello }}\n\nOn Tuesday we roasted **three coffees for cold mornings**: dates and "
        "cardamom, dark chocolate, and one that tastes of ripe pears.",
        "button": "See all three",
        "left": "**Slow**\n\nA cezve, cardamom, and ten minutes of your own.",
        "right": "**Quick**\n\nA dripper, 60 g to the litre, three minutes.",
        "alt": "A cup of coffee on a window sill",
        "footer": "You get this about once a month.",
    },
    "ar": {
        "title": "وصلت محاصيل الشتاء",
        "text": "{{ snippets.hello }}\n\nحمّصنا يوم الثلاثاء **ثلاثة محاصيل لصباحات الشتاء**: تمر وهيل، "
        "وشوكولاتة داكنة، ومحصول بطعم الكمثرى الناضجة.",
        "button": "اكتشفها كلها",
        "left": "**على مهل**\n\nدلّة وهيل وعشر دقائق لك وحدك.",
        "right": "**على عجل**\n\nمرشّح، ٦٠ غراماً لكل لتر، ثلاث دقائق.",
        "alt": "فنجان قهوة عند النافذة",
        "footer": "تصلك هذه الرسالة مرة في الشهر تقريباً.",
    },
}
TEXTS = {
    "": "Kahwa: your order {{ event.properties.order_id | default: 'of today' }} is on its way. "
    "Follow it: {{ shop }}",
    "ar": "قهوة: طلبك {{ event.properties.order_id | default: 'اليوم' }} في الطريق. تابعه: {{ shop }}",
}


def create() -> None:
    """Write the messages and what they rest on."""
    accounts.ensure_sandboxes()
    _brand()
    hello = Snippet.objects.create(slug="hello", name="The usual hello")
    SnippetText.objects.bulk_create(
        SnippetText(snippet=hello, locale=locale, text=text) for locale, text in HELLO.items()
    )
    letter = Message.objects.create(slug=LETTER, name="The roaster's letter", topic="newsletter")
    shipped = Message.objects.create(slug=SHIPPED, name="Your order is on its way", topic="offers")
    MessageContent.objects.bulk_create(
        [
            *(
                MessageContent(message=letter, channel="email", locale=locale, content=letter_content(locale))
                for locale in LETTERS
            ),
            *(
                MessageContent(
                    message=shipped,
                    channel=channel,
                    locale=locale,
                    content={"text": text.replace("{{ shop }}", _address("/demo/shop/"))},
                )
                for channel in ("sms", "whatsapp")
                for locale, text in TEXTS.items()
            ),
        ]
    )
    _rules()


def _brand() -> None:
    kit = BrandKit.load()
    kit.company_name = kit.sender_name = "Kahwa"
    kit.postal_address = "Kahwa Coffee Roasters\n12 Harbour Street\n80-001 Gdańsk, Poland"
    kit.website = _address("/demo/shop/")
    kit.logo_url, kit.logo_width = _address(static("demo/icon-192.png")), 64
    kit.accent, kit.text_colour, kit.background = "#9a3412", "#292524", "#f5f0e8"
    kit.heading_font = BrandKit.Font.GEORGIA
    kit.social_links = {"instagram": "https://instagram.com/kahwa.example"}
    kit.sender_email, kit.reply_to = "hello@kahwa.example", "help@kahwa.example"
    kit.save()


def letter_content(locale: str) -> dict[str, Any]:
    """An email of blocks."""
    words, (subject, preheader) = LETTERS[locale], SUBJECTS[locale]
    shop = _address("/demo/shop/")
    return {
        "subject": subject,
        "preheader": preheader,
        "blocks": [
            {"kind": "logo"},
            {"kind": "image", "src": _address(static("demo/hero.png")), "alt": words["alt"], "href": shop},
            {"kind": "heading", "text": words["title"]},
            {"kind": "text", "text": words["text"]},
            {"kind": "button", "label": words["button"], "href": shop},
            {"kind": "divider"},
            {
                "kind": "columns",
                "left": [{"kind": "text", "text": words["left"]}],
                "right": [{"kind": "text", "text": words["right"]}],
            },
            {"kind": "social"},
            {"kind": "footer", "text": words["footer"]},
        ],
    }


def _rules() -> None:
    """No texts at night, and not too much of anything; push comes at once, as the tour through the shop promises."""
    rules = SendingRules.of_account()
    SendingHours.objects.bulk_create(
        SendingHours(rules=rules, start=time(21), end=time(8), days=list(EVERY_DAY), channel=channel)
        for channel in ("sms", "whatsapp")
    )
    FrequencyCap.objects.create(rules=rules, number=3, period=FrequencyCap.Period.WEEK, channel="email")
    FrequencyCap.objects.create(rules=rules, number=2, period=FrequencyCap.Period.DAY, channel="sms")


def _address(path: str) -> str:
    return settings.NUDGE_PUBLIC_URL + path
