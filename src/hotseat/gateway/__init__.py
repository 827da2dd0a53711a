"""The OpenAI-compatible HTTP front: holds a request, asks for its workload, streams bytes both ways.
"""
