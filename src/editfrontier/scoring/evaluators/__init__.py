"""Evaluators: loading and inference, one file a network; `scoring.evaluator` says which kind reads which folder."""
