"""The two ways to the workloads: through the daemon where one runs, else directly.

Belongs here: translation between the commands' `Access` and the control API or the swapper. No drawing.
"""
