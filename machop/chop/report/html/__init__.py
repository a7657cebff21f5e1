"""The report of a search or a comparison as one HTML file that loads nothing from outside."""
