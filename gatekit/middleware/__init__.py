"""The catalogue: one noun, one file."""
