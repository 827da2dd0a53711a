"""The single writer: one asyncio task owns all scheduling state; everything else sends it messages, reads snapshots.
"""
