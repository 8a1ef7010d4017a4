"""`python -m examples.demo`: a gateway before three real services, and a walk through it."""
