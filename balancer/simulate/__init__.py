"""A simulator around the real core: discrete events on a virtual clock, the same on every run with the same
seed.
"""
