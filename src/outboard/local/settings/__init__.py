"""What an operator decides, from one file and the environment: found, checked, explained.

===============  =======================================================================
`sections`       which sections there are, and the model of each
`variables`      `OUTBOARD_*` variables: which setting each of them is, and what is a typo
`gathering`      file and variables as one document, with the origin of every value
`places`         at which line of a file a setting stands
`listing`        every setting with its value and origin, without secrets; what is wrong
`schema`         the JSON schema of a settings file
===============  =======================================================================

Precedence: option, variable, file, default. `settings_files` makes of it what commands work with.
"""
