"""What the command line shows: tables, progress, explanations, figures."""
