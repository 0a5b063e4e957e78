"""Emails: what is written, how it becomes HTML and text, and the bytes that go out."""
