"""The page at `/`, and the routes of what it shows beside hits."""
