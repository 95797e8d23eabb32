"""How a study runs: plan, doctor, progress, warm start."""
