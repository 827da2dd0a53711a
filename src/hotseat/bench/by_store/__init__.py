"""`hotseat bench store`: memory of real processes out to a store and in again, beside the driver and the pinned copy.

Belongs here: a child that holds device memory whose every byte it knows, a store of its own, the cases, their figures.
"""
