"""The files of searches and comparisons, which nothing else opens: each is checked for damage when it is read."""
