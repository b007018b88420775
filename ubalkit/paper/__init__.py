"""What only the paper's study needs: its protocols, tasks, claims, figures, data sets and notebooks."""
