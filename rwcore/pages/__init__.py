"""Static pages: what a person opens in a browser, self-contained."""
