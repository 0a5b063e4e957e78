"""What `message_sent` tells of where a message went, so that reports can be made again from the log alone.

Nothing of it names the person: the language, the country, the time zone, who carries it, and what kind of device.
"""

from typing import Any

from msgspec.json import decode

from crm import normalise
from delivery.links import bots

OTHER = "other"
# Mail services that many people use: by any other domain somebody could be known.
_MAILBOXES = """
    gmail.com googlemail.com outlook.com hotmail.com live.com msn.com yahoo.com yahoo.co.uk yahoo.fr yahoo.de ymail.com
    icloud.com me.com mac.com aol.com gmx.de gmx.net gmx.at gmx.ch web.de t-online.de freenet.de mail.ru yandex.ru
    bk.ru list.ru inbox.ru rambler.ru ukr.net i.ua wp.pl o2.pl interia.pl onet.pl op.pl vp.pl tlen.pl gazeta.pl
    poczta.onet.pl orange.fr wanadoo.fr free.fr laposte.net sfr.fr libero.it virgilio.it tiscali.it alice.it
    seznam.cz centrum.cz azet.sk abv.bg mail.bg uol.com.br bol.com.br terra.com.br qq.com 163.com 126.com sina.com
    naver.com daum.net hanmail.net rediffmail.com proton.me protonmail.com fastmail.com zoho.com mail.com comcast.net
    verizon.net att.net sbcglobal.net btinternet.com sky.com virginmedia.com bigpond.com optusnet.com.au
"""
MAILBOXES = frozenset(_MAILBOXES.split())
_PUSH = {
    "googleapis.com": "google",
    "mozilla.com": "mozilla",
    "push.apple.com": "apple",
    "windows.com": "microsoft",
}

# What is known of the delivery `d`, as JSON; to be asked when it is being marked as sent.
RAW = """
    (SELECT jsonb_build_object('locale', d.locale, 'country', p.country, 'zone', p.timezone,
            'address', coalesce(nullif(t.address, ''), p.email), 'kind', t.kind, 'endpoint', t.endpoint,
            'agent', t.user_agent, 'account', t.provider)
     FROM crm_profile p LEFT JOIN LATERAL (
        SELECT a.address, v.kind, split_part(v.endpoint, '/', 3) AS endpoint, v.user_agent, c.provider
        FROM delivery_attempt a LEFT JOIN crm_device v ON v.id = a.device_id
        LEFT JOIN delivery_account c ON c.id = a.account_id
        WHERE a.delivery_id = d.id ORDER BY (a.outcome = 'accepted') DESC, a.id DESC LIMIT 1
     ) t ON true WHERE p.id = d.profile_id)
"""


def told(channel: str, raw: str | dict[str, Any] | None) -> dict[str, str]:
    """The properties that `message_sent` gets from what `RAW` found; what is not known is left out."""
    known: dict[str, Any] = (decode(raw) if isinstance(raw, str) else raw) or {}
    country = str(known.get("country") or "")
    found = {
        "locale": known.get("locale"),
        "country": country,
        "zone": known.get("zone") or normalise.main_zone(country or None),
        "provider": _provider(channel, known),
        "device": _device(known),
    }
    return {name: str(value) for name, value in found.items() if value}


def push_service(host: str) -> str:
    """Who carries web pushes to endpoints at this host, which may have a port."""
    name = host.partition(":")[0].lower()
    return next((short for end, short in _PUSH.items() if name == end or name.endswith(f".{end}")), OTHER)


def _provider(channel: str, known: dict[str, Any]) -> str:
    if channel == "email":
        domain = str(known.get("address") or "").rpartition("@")[2].lower()
        return domain if domain in MAILBOXES else OTHER if domain else ""
    if known.get("kind") == "webpush":
        return push_service(str(known.get("endpoint") or ""))
    return str(known.get("kind") or known.get("account") or "")


def _device(known: dict[str, Any]) -> str:
    if known.get("kind") in ("fcm", "apns"):
        return "phone"
    return bots.class_of(str(known["agent"])) if known.get("agent") else ""
