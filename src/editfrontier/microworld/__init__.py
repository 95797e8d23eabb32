"""The micro world: a renderer of small images whose edits, masks, identities and attributes are known exactly."""
