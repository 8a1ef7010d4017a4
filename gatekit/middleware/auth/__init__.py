"""Who is calling: authenticators, and what they find out as an `Identity`."""
