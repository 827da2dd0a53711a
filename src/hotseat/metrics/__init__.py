"""What is counted: the catalogue of metrics, the meters that hold their values, and a short history for plots.

Belongs here: names, labels, buckets, and adding to them. Forbidden here: knowing who counts (daemon) or who shows
(dashboard). A registry belongs to one daemon; there are no global ones, so several may live in one process.
"""
