"""What the page shows beside hits: attributes as filters, a map of the space, tastes in words, pictures and sounds."""
