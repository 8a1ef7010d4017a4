"""One module a topic; each has `measure(bench)`, which yields the lines of the table."""
