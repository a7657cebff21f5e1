"""Small models whose structures public bug reports are about, each compared with a computation of its own."""
