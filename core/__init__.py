"""The analysis, without a terminal: models, FZs, measures, the store, tables, jobs and reports."""
