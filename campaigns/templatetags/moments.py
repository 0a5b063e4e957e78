"""Days and times as sentences about flows write them, so that a page has one way to do it."""

from django import template

from campaigns.flows import waiting_words

register = template.Library()
register.filter("moment", waiting_words.moment)
