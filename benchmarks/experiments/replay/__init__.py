"""Traces and a simulated server, called once more with other policies: do adaptive ones win?"""
