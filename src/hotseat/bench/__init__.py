"""Measures swaps through the same swapper that everything else uses, and the bare driver calls beside it.

Belongs here: cycles, medians, reports. Forbidden here: a way to swap that users do not get; a figure that was not
measured in this run.
"""
