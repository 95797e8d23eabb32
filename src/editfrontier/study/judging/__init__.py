"""How claims are judged: the one rule of all verdicts, and the evidence."""
