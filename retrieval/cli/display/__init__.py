"""Output of the command line: tables, progress, explanations, figures."""
