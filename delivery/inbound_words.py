"""Words by which people leave, come back and ask for help.

A message counts only if it is such a word and nothing else: "stop by our shop" is no wish to leave. The English ones
are those that carriers ask for (CTIA Messaging Principles, 5.1.3).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

STOP, START, HELP = "stop", "start", "help"
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    STOP: {
        "en": (
            *(
                "stop",
                "stopall",
                "stop all",
                "unsubscribe",
                "cancel",
                "end",
                "quit",
                "optout",
                "opt out",
                "revoke",
            ),
            *("remove", "remove me", "stop promotions"),
        ),
        "ar": (
            *("إيقاف", "ايقاف", "أوقف", "توقف", "قف", "إلغاء", "الغاء", "إلغاء الاشتراك", "الغاء الاشتراك"),
            *("ألغ", "الغ"),
        ),
        "pl": (
            "rezygnuję",
            "rezygnuje",
            "rezygnacja",
            "wypisz",
            "wypisz mnie",
            "koniec",
            "anuluj",
            "zatrzymaj",
        ),
        "de": ("stopp", "abmelden", "abbestellen", "ende", "beenden", "kündigen", "aus"),
        "fr": (
            "arret",
            "arrêt",
            "arreter",
            "arrêter",
            "désabonner",
            "desabonner",
            "désinscrire",
            "annuler",
            "fin",
        ),
        "es": ("parar", "alto", "baja", "cancelar", "detener", "fin", "darse de baja", "borrar"),
        "pt": ("parar", "pare", "sair", "cancelar", "remover", "descadastrar"),
        "it": ("fermare", "ferma", "basta", "annulla", "cancella", "disiscrivi"),
        "tr": ("dur", "iptal", "ret", "çık", "çıkış"),
        "ru": ("стоп", "отписаться", "отпиши", "отмена", "отписка", "хватит"),
        "uk": ("стоп", "відписатися", "відписка", "скасувати", "досить"),
        "nl": ("afmelden", "uitschrijven", "stoppen"),
        "sv": ("stopp", "avsluta", "avregistrera"),
        "cs": ("odhlasit", "odhlásit", "zrusit", "zrušit"),
        "ro": ("dezabonare", "anulare"),
        "hu": ("leiratkozás", "leiratkozas", "állj"),
        "el": ("διακοπή", "διακοπη", "τέλος"),
        "he": ("הסר", "הסרה", "עצור", "ביטול"),
        "fa": ("لغو", "توقف"),
        "hi": ("रोकें", "बंद करें"),
        "id": ("berhenti", "batal"),
        "zh": ("退订", "停止", "取消"),
        "ja": ("停止", "解除", "キャンセル"),
        "ko": ("중지", "수신거부", "취소"),
    },
    # No plain yes in any language: somebody who left may say it to something else.
    START: {
        "en": ("start", "unstop", "subscribe", "optin", "opt in", "resume"),
        "ar": ("ابدأ", "ابدا", "بدء", "اشتراك", "اشترك"),
        "pl": ("zapisz", "zapisz mnie", "wznów", "wznow"),
        "de": ("anmelden", "starten"),
        "fr": ("commencer", "abonner", "reprendre"),
        "es": ("empezar", "iniciar", "alta"),
        "pt": ("começar", "iniciar", "voltar"),
        "it": ("inizia", "avvia", "iscrivi"),
        "tr": ("başla", "basla"),
        "ru": ("старт", "начать", "подписаться"),
        "uk": ("старт", "почати", "підписатися"),
    },
    HELP: {
        "en": ("help", "info"),
        "ar": ("مساعدة", "مساعده"),
        "pl": ("pomoc",),
        "de": ("hilfe",),
        "fr": ("aide",),
        "es": ("ayuda",),
        "pt": ("ajuda",),
        "it": ("aiuto",),
        "tr": ("yardım", "yardim"),
        "ru": ("помощь",),
        "uk": ("допомога",),
    },
}
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_SPACES = re.compile(r"\s+")
# Turkish has two letters i, of which others write one; Arabic draws words long.
_SAME = (("i\u0307", "i"), ("ı", "i"), ("\u0640", ""))


class Understood(NamedTuple):
    """What a message means, and the language of its word; "" where that tells nothing.

    English is used everywhere, a word may belong to more than one language, or was added by hand.
    """

    meaning: str
    language: str


def plain(text: str) -> str:
    """A message as words are compared: without case, marks at its edges, invisible signs and Arabic vowel signs."""
    known = unicodedata.normalize("NFKC", text)
    kept = (each for each in known if each.isspace() or unicodedata.category(each) not in ("Cf", "Cc", "Mn"))
    folded = "".join(kept).casefold()
    for written, same in _SAME:
        folded = folded.replace(written, same)
    return _EDGES.sub("", _SPACES.sub(" ", folded))


def understand(text: str, extra: Mapping[str, Iterable[str]] | None = None) -> Understood:
    """What `text` means; ("", "") when it is not just such a word.

    Args:
        extra: {STOP, START or HELP: words}, which count before ours.
    """
    word = plain(text)
    if not word or len(word) > 40:
        return Understood("", "")
    for meaning, words in (extra or {}).items():
        if word in {plain(each) for each in words}:
            return Understood(meaning, "")
    return _known().get(word, Understood("", ""))


@cache
def _known() -> dict[str, Understood]:
    found: dict[str, Understood] = {}
    # STOP comes first: where a word is told twice, nobody is kept who may have wanted to leave.
    for meaning, languages in _WORDS.items():
        for language, words in languages.items():
            for word in map(plain, words):
                if word not in found:
                    found[word] = Understood(meaning, "" if language == "en" else language)
                elif found[word] != (meaning, language) and found[word].meaning == meaning:
                    found[word] = Understood(meaning, "")
    return found
