"""The countries the sandbox's people live in: weight, language, cities with time zones, phone plan."""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """One country; `weight` is its share of people relative to the others.

    `phone` is the E.164 beginning of a valid mobile number; `digits` random digits complete it.
    `cities` holds (city, IANA time zone); `language` is a HubSpot language code.
    """

    code: str
    name: str
    weight: int
    names: str
    language: str
    phone: str
    digits: int
    cities: list[tuple[str, str]]


def _country(
    code: str, name: str, weight: int, names: str, language: str, phone: str, digits: int, cities: str
) -> Country:
    """`cities` is `City, City @ Zone; City @ Zone`: the zone follows the cities it holds for."""
    pairs = []
    for group in cities.split(";"):
        listed, zone = group.split("@")
        pairs += [(city.strip(), zone.strip()) for city in listed.split(",")]
    return Country(code, name, weight, names, language, phone, digits, pairs)


COUNTRIES: list[Country] = [
    _country(
        "PL",
        "Poland",
        12,
        "polish",
        "pl",
        "+48512",
        6,
        "Warszawa, Kraków, Łódź, Wrocław, Poznań, Gdańsk @ Europe/Warsaw",
    ),
    _country(
        "DE",
        "Germany",
        10,
        "german",
        "de",
        "+4915123",
        6,
        "Berlin, München, Köln, Hamburg, Düsseldorf @ Europe/Berlin",
    ),
    _country("AT", "Austria", 2, "german", "de-at", "+436641", 5, "Wien, Graz, Linz @ Europe/Vienna"),
    _country("CH", "Switzerland", 2, "german", "de-ch", "+417812", 5, "Zürich, Bern, Basel @ Europe/Zurich"),
    _country(
        "AE", "United Arab Emirates", 8, "arabic", "ar-ae", "+971501", 6, "دبي, أبوظبي, الشارقة @ Asia/Dubai"
    ),
    _country("SA", "Saudi Arabia", 8, "arabic", "ar-sa", "+966512", 6, "الرياض, جدة, الدمام @ Asia/Riyadh"),
    _country("EG", "Egypt", 6, "arabic", "ar-eg", "+201001", 6, "القاهرة, الإسكندرية, الجيزة @ Africa/Cairo"),
    _country(
        "MA",
        "Morocco",
        2,
        "arabic",
        "ar-ma",
        "+212650",
        6,
        "الدار البيضاء, الرباط, مراكش @ Africa/Casablanca",
    ),
    _country(
        "US",
        "United States",
        14,
        "english",
        "en-us",
        "+12015",
        6,
        "New York, Boston, Atlanta, Miami @ America/New_York; Chicago, Houston, Dallas @ America/Chicago; "
        "Denver @ America/Denver; Phoenix @ America/Phoenix; "
        "Los Angeles, Seattle, San Francisco @ America/Los_Angeles; Honolulu @ Pacific/Honolulu",
    ),
    _country(
        "CA",
        "Canada",
        4,
        "english",
        "en-ca",
        "+15062",
        6,
        "Toronto, Ottawa @ America/Toronto; Vancouver @ America/Vancouver; St. John's @ America/St_Johns",
    ),
    _country(
        "GB",
        "United Kingdom",
        10,
        "english",
        "en-gb",
        "+447400",
        6,
        "London, Manchester, Leeds, Glasgow, Cardiff @ Europe/London",
    ),
    _country("IE", "Ireland", 2, "english", "en-ie", "+353850", 6, "Dublin, Cork, Galway @ Europe/Dublin"),
    _country(
        "AU",
        "Australia",
        4,
        "english",
        "en-au",
        "+61412",
        6,
        "Sydney @ Australia/Sydney; Melbourne @ Australia/Melbourne; Perth @ Australia/Perth; "
        "Adelaide @ Australia/Adelaide; Brisbane @ Australia/Brisbane",
    ),
    _country(
        "NZ", "New Zealand", 2, "english", "en-nz", "+64211", 6, "Auckland, Wellington @ Pacific/Auckland"
    ),
    _country(
        "BR",
        "Brazil",
        9,
        "portuguese",
        "pt-br",
        "+551196",
        7,
        "São Paulo, Rio de Janeiro, Belo Horizonte, Brasília @ America/Sao_Paulo; Manaus @ America/Manaus; "
        "Salvador @ America/Bahia",
    ),
    _country(
        "PT", "Portugal", 3, "portuguese", "pt-pt", "+351912", 6, "Lisboa, Porto, Coimbra @ Europe/Lisbon"
    ),
    _country(
        "ES",
        "Spain",
        7,
        "spanish",
        "es-es",
        "+34612",
        6,
        "Madrid, Barcelona, Sevilla, Málaga @ Europe/Madrid; Las Palmas @ Atlantic/Canary",
    ),
    _country(
        "MX",
        "Mexico",
        6,
        "spanish",
        "es-mx",
        "+52222",
        7,
        "Ciudad de México, Guadalajara, Puebla @ America/Mexico_City; "
        "Tijuana @ America/Tijuana; Cancún @ America/Cancun",
    ),
    _country(
        "AR",
        "Argentina",
        3,
        "spanish",
        "es-ar",
        "+5491123",
        6,
        "Buenos Aires @ America/Argentina/Buenos_Aires",
    ),
    _country("CO", "Colombia", 3, "spanish", "es-co", "+57321", 7, "Bogotá, Medellín, Cali @ America/Bogota"),
    _country(
        "FR",
        "France",
        8,
        "french",
        "fr-fr",
        "+33612",
        6,
        "Paris, Lyon, Marseille, Toulouse, Besançon @ Europe/Paris",
    ),
    _country("BE", "Belgium", 2, "french", "fr-be", "+32470", 6, "Bruxelles, Liège, Namur @ Europe/Brussels"),
    _country(
        "IT", "Italy", 6, "italian", "it", "+393123", 6, "Roma, Milano, Torino, Napoli, Firenze @ Europe/Rome"
    ),
    _country(
        "TR",
        "Türkiye",
        6,
        "turkish",
        "tr",
        "+90501",
        7,
        "İstanbul, Ankara, İzmir, Eskişehir @ Europe/Istanbul",
    ),
    _country(
        "NL", "Netherlands", 3, "dutch", "nl", "+31612", 6, "Amsterdam, Rotterdam, Utrecht @ Europe/Amsterdam"
    ),
    _country("SE", "Sweden", 3, "nordic", "sv", "+46701", 6, "Stockholm, Göteborg, Malmö @ Europe/Stockholm"),
    _country("NO", "Norway", 2, "nordic", "nb", "+47406", 5, "Oslo, Bergen, Tromsø @ Europe/Oslo"),
    _country(
        "DK", "Denmark", 2, "nordic", "da", "+453441", 4, "København, Aarhus, Odense @ Europe/Copenhagen"
    ),
    _country(
        "FI", "Finland", 2, "finnish", "fi", "+358412", 6, "Helsinki, Tampere, Jyväskylä @ Europe/Helsinki"
    ),
    _country("CZ", "Czechia", 3, "czech", "cs", "+420601", 6, "Praha, Brno, Plzeň @ Europe/Prague"),
    _country("UA", "Ukraine", 3, "ukrainian", "uk", "+380501", 6, "Київ, Львів, Одеса @ Europe/Kyiv"),
    _country(
        "RO", "Romania", 3, "romanian", "ro", "+40712", 6, "București, Cluj-Napoca, Iași @ Europe/Bucharest"
    ),
    _country("GR", "Greece", 2, "greek", "el", "+306912", 6, "Αθήνα, Θεσσαλονίκη @ Europe/Athens"),
    _country("IL", "Israel", 2, "hebrew", "he", "+972502", 6, "תל אביב, ירושלים, חיפה @ Asia/Jerusalem"),
    _country(
        "IN",
        "India",
        9,
        "indian",
        "hi",
        "+918123",
        6,
        "Mumbai, Bengaluru, Delhi, Chennai, Kolkata @ Asia/Kolkata",
    ),
    _country("PK", "Pakistan", 2, "pakistani", "ur", "+923012", 6, "Karachi, Lahore @ Asia/Karachi"),
    _country("JP", "Japan", 9, "japanese", "ja", "+819012", 6, "東京, 大阪, 名古屋, 福岡, 札幌 @ Asia/Tokyo"),
    _country("KR", "South Korea", 4, "korean", "ko", "+821020", 6, "서울, 부산, 인천 @ Asia/Seoul"),
    _country("TW", "Taiwan", 2, "chinese", "zh-tw", "+886912", 6, "臺北, 高雄, 臺中 @ Asia/Taipei"),
    _country("TH", "Thailand", 2, "thai", "th", "+66812", 6, "กรุงเทพฯ, เชียงใหม่ @ Asia/Bangkok"),
    _country(
        "VN",
        "Vietnam",
        2,
        "vietnamese",
        "vi",
        "+84912",
        6,
        "Hà Nội, Đà Nẵng, Thành phố Hồ Chí Minh @ Asia/Ho_Chi_Minh",
    ),
    _country(
        "ID",
        "Indonesia",
        3,
        "indonesian",
        "id",
        "+62812",
        7,
        "Jakarta, Bandung @ Asia/Jakarta; Denpasar @ Asia/Makassar",
    ),
    _country(
        "NG", "Nigeria", 5, "nigerian", "en-ng", "+234802", 7, "Lagos, Abuja, Ibadan, Kano @ Africa/Lagos"
    ),
    _country("KE", "Kenya", 3, "kenyan", "en-ke", "+254712", 6, "Nairobi, Mombasa, Kisumu @ Africa/Nairobi"),
    _country(
        "ZA",
        "South Africa",
        3,
        "southafrican",
        "en-za",
        "+27711",
        6,
        "Johannesburg, Cape Town, Durban @ Africa/Johannesburg",
    ),
]

COUNTRY_BY_CODE = {country.code: country for country in COUNTRIES}
