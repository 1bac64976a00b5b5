"""Submissions: a job is started once.

==================  ============================================================================================
`submissions`       one submission per key and process; what becomes of it is told by its handle
`submission`        one of them: its window, its claim, what stands in its way
`starts`            sending a create, and sending it again, as the platform's means allow
`adoptions`         jobs of earlier attempts
`intents`           what became of a submission that another process began
`publications`      what came of one, written down where other replicas look for it
`records`           the small object per key by which replicas agree
`late_answers`      sync agents over CreateTask
`unclaimed`         jobs that nobody asks for
==================  ============================================================================================
"""
