"""Runs every block of code in the documents, as a reader would: block by block, in one folder per document.

`blocks` says which block is run how, by its language; `reader` is the folder, what can be typed there and what was started;
`yaml_blocks` knows what a piece of YAML is for, `stand_ins` what a program means here: `clusters` has Helm and kubectl, `pods`
runs the service that was applied, `machines` has docker, systemd and curl. Five comments, which no reader sees, stand before a
block where needed::

    <!--- file: naps.py -->        the block is saved under this name too, as the text around it says
    <!--- script: ring.py -->      the same for Python that a command runs, and nobody imports
    <!--- with: check.md -->       the files of another document are there too
    <!--- skip: next "reason" -->  the block cannot be run; the reason appears among the skipped tests
    <!--- setting: python
    ...
    -->                            what the text takes for granted, run before the blocks that follow
"""
