"""The command `hotseat`: thin commands over the library, tables, --json, exit codes.

What belongs here: parsing of arguments, choosing between the daemon and the direct way (`access`), drawing.
What does not: decisions about swaps (`hotseat.swap`), about who sits (`hotseat.scheduler`).

A command module imports only click at its top, so that `hotseat --help` starts at once; the rest is imported when the
command runs. rich is imported in `draw` alone.
"""
