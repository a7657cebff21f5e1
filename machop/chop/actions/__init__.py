"""The steps of each command: train, evaluate, transform, search, compare. They print nothing."""
