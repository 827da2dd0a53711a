"""Test doubles of hotseat's ports, shipped as public API: each passes the same contract suite as the real thing."""
