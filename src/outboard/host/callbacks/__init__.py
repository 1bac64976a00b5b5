"""Callbacks: a platform says that a job changed, and the next poll hears of it.

==================  ============================================================================================
`callbacks`         whether one is genuine, and new
`hastening`         a question per job and second, however many come
==================  ============================================================================================
"""
