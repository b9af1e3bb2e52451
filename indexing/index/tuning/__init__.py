"""Choosing and measuring an index: families, trials, and the recall that it promises."""
