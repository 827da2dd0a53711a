"""What requests mean: which of three APIs they speak, where they name their model, the shape of what hotseat says.

Belongs here: pure functions over bytes, names and views. Forbidden here: sockets, tasks, seats.
"""
