"""The kernel: processes and their identity, the ptrace freezer, the cgroup freezer (v1 and v2), host memory.

Belongs here: /proc, pidfd, ptrace and cgroup file systems. ABI through ctypes stands in `*_abi.py`, names as in the
headers. Forbidden here: CUDA, containers as such, policy.
"""
