"""The story of `hotseat demo`: a stage (device, engines, daemon), a talk with the engines, and what must come of it.

What belongs here: setting it up, telling it, checking it, removing it. What does not: any way to swap that users do not
have; the story goes through the gateway and the commands like anybody.
"""
