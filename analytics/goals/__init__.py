"""Goals that were reached, and which messages have the credit."""
