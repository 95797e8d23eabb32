"""The edit job: a shard of cases through one editor, in batches, with a record of what happened to each."""
