"""What is related to items: other items, and the users whom they suit."""
