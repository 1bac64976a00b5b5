"""What Outboard is deployed with: the Helm chart, found and rendered.

The chart is the one source of truth. It lies in `deploy/chart` of a checkout and beside this module in an installed package
(`charts`); manifests for those without Helm are what Helm's own engine makes of it (`rendering`): the `helm` program where there
is one, else the library of the extra `deploy`, which holds the same engine. A renderer of our own would be a second truth.
"""
