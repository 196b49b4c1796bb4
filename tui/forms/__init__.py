"""What dialogs fill in: a job, an export, a quick filter. No widgets."""
