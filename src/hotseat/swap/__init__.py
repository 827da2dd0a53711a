"""The swap transaction: a plan of steps with their undo, run, verified, measured, journalled.

Belongs here: planning (pure), the executor, verification, roll back and quarantine, the journal, reconciliation of what
the journal says with what the world shows. Forbidden here: policy (who sits), HTTP, command lines.
"""
