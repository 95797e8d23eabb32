"""The designs of experiments: chains, masks, wordings, sweeps, planes."""
