"""The scoring pass: the source side of a task once, then every variant."""
