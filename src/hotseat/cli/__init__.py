"""The command `hotseat`: thin commands over the library, tables, --json, exit codes.
"""
