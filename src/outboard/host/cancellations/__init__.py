"""Cancellations: a cancel reaches the job, and is confirmed.

==================  ============================================================================================
`cancellations`     what DeleteTask does
`pursuits`          one cancel that is pursued until its job has ended
`owed_cancels`      cancels that outlive their process
`owed_lists`        the list that replicas share of them
==================  ============================================================================================
"""
