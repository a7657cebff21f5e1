"""Shows studies, spaces and networks in a notebook: HTML without scripts, plain tables where styles are removed."""
