"""What several commands run on a loaded bundle: users of a log, large batch jobs, and evaluations."""
