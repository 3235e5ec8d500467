"""The report of a network: one offline HTML file, and the same numbers as JSON."""
