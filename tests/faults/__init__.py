"""The campaign: what is done to the installer, and to the build's cache, to prove that neither can be broken. ``make faults`` runs all of it.

A part is a module of this package with ``def campaign(bounded: bool, report: Report) -> None``. Not ``bounded`` it runs everything that
docs/reliability.md gives figures of; ``bounded`` it is what ``make test`` can afford, through the part's own ``test_*.py``.
"""
