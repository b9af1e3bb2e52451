"""What changes a bundle over HTTP: jobs, their records on disk, and the processes that do long ones."""
