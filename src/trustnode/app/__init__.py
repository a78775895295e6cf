"""What a node does: every step of every noun, through one door, in durable units.

A function here either takes ``tx``, decides, and never awaits; or it is ``async``, moves bytes, and never decides.
"""
