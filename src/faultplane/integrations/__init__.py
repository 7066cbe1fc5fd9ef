"""One file a framework: requests and tasks are in flight while they run, their errors are recorded.

Each works through what its framework offers for such things, changes nothing of what the framework
does with an error, and leaves no line in the tracebacks that others print. ``faultplane run`` wires
what a program imports; without it, each file says in its first lines what to write.

An operation is the method and the route (``GET /orders/<id>``), or the name of a task; never a path
or an argument, because each operation is a series of exact counts.
"""
