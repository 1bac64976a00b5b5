"""Budgets: what is left of the quotas of each account.

==================  ============================================================================================
`budgets`           what the calls of one account spend
`queues`            who may call next
`buckets`           how many calls the rates allow, now and soon
`throttles`         how a rate gives way to "slow down", and comes back
`shares`            the part of the quotas that is this replica's
`overrides`         what the operator knows better than the platform's page
`metrics`           what Prometheus is told
==================  ============================================================================================
"""
