"""What the demo shop sells."""

from dataclasses import dataclass
from decimal import Decimal

from django.templatetags.static import static
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

CURRENCY = "EUR"

CATEGORIES: dict[str, str | Promise] = {
    "coffee": _("Coffee"),
    "brewing": _("Brewing"),
    "table": _("At the table"),
}


@dataclass(frozen=True)
class Product:
    """One article; `slug` is its address, its `product_id` in events and the name of its pictures."""

    slug: str
    category: str
    price: Decimal
    name: str | Promise
    line: str | Promise
    text: str | Promise

    @property
    def category_name(self) -> str | Promise:
        """The category as the visitor reads it."""
        return CATEGORIES[self.category]

    @property
    def drawing(self) -> str:
        """Path of the picture shown on pages (SVG)."""
        return static(f"demo/products/{self.slug}.svg")

    @property
    def photo(self) -> str:
        """Path of the same picture as a 720x360 PNG: notifications do not show SVG."""
        return static(f"demo/products/{self.slug}.png")


_PRODUCTS = (
    Product(
        "haraz-mocha",
        "coffee",
        Decimal("18.50"),
        _("Haraz Mocha"),
        _("Yemen · dried fig, cocoa, red wine"),
        _("Grown on stone terraces at 2,200 metres and dried on rooftops. Deep, winey and a little wild."),
    ),
    Product(
        "yirgacheffe",
        "coffee",
        Decimal("15.90"),
        _("Yirgacheffe"),
        _("Ethiopia · jasmine, bergamot, apricot"),
        _("A washed coffee that drinks almost like tea. Best as a pour-over, best before noon."),
    ),
    Product(
        "huila",
        "coffee",
        Decimal("14.20"),
        _("Huila Sunrise"),
        _("Colombia · caramel, orange, milk chocolate"),
        _("Sweet, round and patient with beginners: it tastes good however you brew it."),
    ),
    Product(
        "night-shift",
        "coffee",
        Decimal("13.80"),
        _("Night Shift Espresso"),
        _("House blend · molasses, hazelnut, smoke"),
        _("Our darkest roast, made for milk and for deadlines."),
    ),
    Product(
        "slow-evening",
        "coffee",
        Decimal("14.60"),
        _("Slow Evening Decaf"),
        _("Mexico · brown sugar, cherry, almond"),
        _("Decaffeinated with water only, so that the second cup after dinner is a good idea."),
    ),
    Product(
        "dripper",
        "brewing",
        Decimal("27.00"),
        _("Stoneware dripper"),
        _("One to three cups · with glass server"),
        _("Thick walls keep the heat, tall ribs keep the flow. Takes ordinary paper filters."),
    ),
    Product(
        "kettle",
        "brewing",
        Decimal("49.00"),
        _("Gooseneck kettle"),
        _("0.9 litres · for every hob"),
        _("A spout that pours as thin as you like, and a walnut handle that stays cool."),
    ),
    Product(
        "grinder",
        "brewing",
        Decimal("64.00"),
        _("Hand grinder"),
        _("Steel burrs · 30 g in forty seconds"),
        _("From espresso to French press in clicks you can count. Fits in a rucksack."),
    ),
    Product(
        "cezve",
        "brewing",
        Decimal("32.50"),
        _("Copper cezve"),
        _("Two small cups · tinned inside"),
        _("Hammered by hand. Add cardamom, watch the foam, take it off the fire in time."),
    ),
    Product(
        "two-cups",
        "table",
        Decimal("19.00"),
        _("Two small cups"),
        _("Porcelain · 120 ml each"),
        _("One for you, one for whoever knocks. Dishwasher safe, argument proof."),
    ),
    Product(
        "cardamom-dates",
        "table",
        Decimal("9.40"),
        _("Cardamom dates"),
        _("250 g · Medjool, stoned and filled"),
        _("What coffee has been drunk with for a few hundred years, and for good reason."),
    ),
)

PRODUCTS: dict[str, Product] = {product.slug: product for product in _PRODUCTS}
