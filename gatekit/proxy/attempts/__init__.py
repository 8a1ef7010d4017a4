"""One request's attempts: the first, those after it, and those beside it."""
