"""Where calls are made: in this process or in several."""
