"""The same little service in each framework.

``/ok/<n>`` answers; ``/fail/<n>`` raises KeyError; ``/refused/<n>`` raises what the framework
answers itself, with 403; ``/stream/<n>`` raises OSError in the middle of its body; anything else is
not found. ``/inside/<n>`` records an error itself and answers.
"""
