"""The page on which people choose what they get, without an account: a signed link is all it takes."""
