"""The WSGI application of `benchmarks.naive_api`, on the product's settings and database."""

from django.conf import settings

from config.wsgi import application

__all__ = ["application"]

settings.ROOT_URLCONF = "benchmarks.naive_api"
