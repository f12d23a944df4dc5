"""Results of runs as JSON, Markdown and HTML."""
