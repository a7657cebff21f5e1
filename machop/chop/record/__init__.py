"""The files of searches and comparisons: reads and writes them, and raises an error for damaged ones."""
