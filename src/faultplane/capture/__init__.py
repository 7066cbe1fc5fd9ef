"""Capture: a live exception becomes a record.

``start`` begins recording in a process, ``block`` is `capture`, ``hooks`` are the ends of the
interpreter where exceptions turn up that nobody caught, ``attributes`` reads those of a record,
``filters`` is what is left out, and ``run`` starts programs with all of it on. Users reach them
through the names of `faultplane`.
"""
