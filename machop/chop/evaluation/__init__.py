"""Running plans: one by one, or many at once in batched evaluation."""
