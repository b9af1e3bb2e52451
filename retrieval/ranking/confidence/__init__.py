"""How sure a match is: does the catalogue hold what a query asks for?"""
