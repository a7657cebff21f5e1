"""Tables, pages, plots and progress, made of records of searches and comparisons."""
