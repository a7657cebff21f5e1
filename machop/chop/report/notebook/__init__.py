"""What a notebook shows: HTML without scripts and requests, which reads as plain tables where styles are removed."""
