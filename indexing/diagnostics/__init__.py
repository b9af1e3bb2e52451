"""What is wrong with a source or a bundle: inspect and doctor."""
