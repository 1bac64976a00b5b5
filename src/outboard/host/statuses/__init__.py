"""Statuses: where tasks stand.

==================  ============================================================================================
`statuses`          answers polls; its docstring tells the rules
`board`             what is known of every live job, and who waits for news of it
`lanes`             which jobs are asked about together, and when
`questions`         what agents are asked
`verdicts`          what an answer means, and what silence means
`endings`           success is reported once its outputs are there
`metrics`           what Prometheus is told
==================  ============================================================================================
"""
