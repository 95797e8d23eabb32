"""The paper: its config, designs, analyses, theory, claims, figures, results, user study and report."""
