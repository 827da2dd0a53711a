"""Who sits: pure functions over dataclasses. No I/O, no clock, no logging; time comes in as an argument.
"""
