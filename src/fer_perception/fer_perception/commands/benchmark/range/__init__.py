"""``benchmark range``: how far away people are found, what is read in their faces, and what it costs.

``photographs`` reads labelled faces, ``scenes`` puts them into pictures without people, ``measure`` shows these to the
detectors, ``times`` clocks them; ``text`` and ``plot`` show the result.
"""
