"""Settings, urls, Celery app, embedded database and supervisor: what holds the product together."""

from config.celery import app as celery_app

__all__ = ("celery_app",)
