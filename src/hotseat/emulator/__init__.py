"""Handling of the emulated driver from Python: where its libraries lie, making devices, setting faults.

A test bench and a demo stage for machines without a GPU. No performance figure comes from it.
"""
