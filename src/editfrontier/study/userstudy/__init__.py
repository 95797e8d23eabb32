"""The user study: which pairs of edits people judge, the page that asks them, and what their answers say."""
