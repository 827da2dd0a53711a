"""Other programs' configurations as a hotseat.yaml.

Belongs here: reading theirs, writing ours, saying what has no equivalent. Forbidden here: I/O; guessing in silence.
"""
