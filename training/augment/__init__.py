"""Fills classes up with made rows: templates, synonyms, typos; each names the row it is from."""
