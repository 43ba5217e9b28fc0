"""opml: optimistic machine learning."""
