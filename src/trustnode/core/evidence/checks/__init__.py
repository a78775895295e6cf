"""The checks of protocol 11, in four rooms: ``keys`` (1, 2), ``logs`` (3 to 5), ``deal`` (6, 7), ``reads`` (8 to 13).

``case`` is what they share. Each check is a function of a case that returns one line of text and notes what it found.
"""
