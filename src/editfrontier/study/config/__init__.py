"""The config of a study: schema, checks, and what follows from it."""
