"""The demo shop's products in the catalogue, one of them sold out, and its stores on the map."""

from django.conf import settings
from django.utils import translation

from config.demo.catalogue import CURRENCY, PRODUCTS
from crm import catalogue, places
from crm.models import Place, Product

SOURCE = "demo"
SOLD_OUT = "haraz-mocha"
STORES = (
    {"name": "Kahwa Old Town", "latitude": 52.2497, "longitude": 21.0122, "address": "Rynek 1, Warszawa"},
    {"name": "Kahwa Olaya", "latitude": 24.6947, "longitude": 46.6853, "address": "Olaya Street, Riyadh"},
    {
        "name": "Kahwa Brick Lane",
        "latitude": 51.5217,
        "longitude": -0.0717,
        "address": "Brick Lane 90, London",
    },
)


def exists() -> bool:
    """Whether the demo was filled before; what somebody has changed or deleted since stays so."""
    return Product.objects.exists() or Place.objects.exists()


def create() -> None:
    """Write products and places."""
    with translation.override("en"):
        products = [
            catalogue.patch(
                {
                    "sku": product.slug,
                    "name": str(product.name),
                    "description": str(product.text),
                    "category": product.category,
                    "price": product.price,
                    "currency": CURRENCY,
                    "stock": 0 if product.slug == SOLD_OUT else 40,
                    "url": f"{settings.NUDGE_PUBLIC_URL}/demo/shop/{product.slug}/",
                    "image_url": f"{settings.NUDGE_PUBLIC_URL}{product.photo}",
                }
            )
            for product in PRODUCTS.values()
        ]
    catalogue.upsert(products, SOURCE)
    places.upsert([places.patch(store) for store in STORES], SOURCE)
