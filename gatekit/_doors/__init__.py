"""The doors: the only code that speaks a framework's protocol."""
