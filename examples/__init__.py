"""Runnable examples; README.md beside this file lists them."""
