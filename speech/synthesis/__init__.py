"""Synthetic speakers: how the embedded corpus was made, and how anyone can remake it.

Texts and effects are our own;
the voices are espeak-ng's, spoken by a process of its own (`speech.synthesis.espeak_worker`).
Everything follows from one seed number, and no speaker depends on another.
"""
