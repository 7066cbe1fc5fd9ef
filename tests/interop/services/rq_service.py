"""Jobs for RQ."""


def ok(n):
    return n


def fail(n):
    raise KeyError(n)
