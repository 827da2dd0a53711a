"""What would not work on this machine, and why, before it is tried.

`facts` are records, `gather_*` read them from the machine, `rules_*` turn them into findings and are
pure: no I/O there. A fact that could not be read is None and says so in a finding; it never becomes "ok".
"""
