"""Building blocks of the networks that judge images."""
