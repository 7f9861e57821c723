"""Synthetic speakers: they made the embedded corpus, and anyone can make it again.

Texts and effects are our own. espeak-ng makes the voices, in a process of its own
(`speech.synthesis.espeak_worker`).

Guarantee: one seed number determines everything, and no speaker depends on another.
"""
