"""What `Metrics` is made of: series, where they go to, and what is read from the other parts."""
