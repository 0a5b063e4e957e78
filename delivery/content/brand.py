"""The company's looks and addresses, for what is sent and for previews of it."""

from typing import Any

import msgspec

from delivery.models import BrandKit

# Fonts that mail programs have, each with what stands in for it; Arabic is drawn by the first that has its letters.
FONTS = {
    "system": "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans Arabic', Arial, sans-serif",
    "arial": "Arial, Helvetica, sans-serif",
    "georgia": "Georgia, 'Times New Roman', serif",
    "tahoma": "Tahoma, Verdana, sans-serif",
    "times": "'Times New Roman', Times, serif",
    "trebuchet": "'Trebuchet MS', Helvetica, sans-serif",
    "verdana": "Verdana, Geneva, sans-serif",
}
NETWORKS = {
    "facebook": "Facebook",
    "instagram": "Instagram",
    "linkedin": "LinkedIn",
    "snapchat": "Snapchat",
    "telegram": "Telegram",
    "tiktok": "TikTok",
    "x": "X",
    "youtube": "YouTube",
}


class Brand(msgspec.Struct, frozen=True, kw_only=True):
    """What the brand kit says. Colours are #rrggbb, fonts lists for CSS; what nobody filled in is empty.

    `social` holds {network: address}, the network named as in NETWORKS.
    """

    name: str
    postal_address: str
    website: str
    logo: str
    logo_width: int  # pixels
    accent: str
    text_colour: str
    background: str  # around the text
    surface: str  # behind the text
    heading_font: str
    body_font: str
    social: dict[str, str]
    sender_name: str
    sender_email: str
    reply_to: str

    def data(self) -> dict[str, Any]:
        """What templates see as `brand`; empty values are left out, so that a default applies to them."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value not in ("", {})}


def current() -> Brand:
    """Return the brand of this installation, in one query."""
    kit = BrandKit.load()
    return Brand(
        name=kit.company_name,
        postal_address=kit.postal_address,
        website=kit.website,
        logo=kit.logo_url,
        logo_width=kit.logo_width,
        accent=kit.accent,
        text_colour=kit.text_colour,
        background=kit.background,
        surface=kit.surface,
        heading_font=FONTS.get(kit.heading_font, FONTS["system"]),
        body_font=FONTS.get(kit.body_font, FONTS["system"]),
        social={name: url for name, url in kit.social_links.items() if name in NETWORKS and url},
        sender_name=kit.sender_name or kit.company_name,
        sender_email=kit.sender_email,
        reply_to=kit.reply_to,
    )
