"""What everything that runs on one person's machine shares, whoever starts it: the command line, or flytekit.

Where things lie (`home`), what the person decided (`documents`, `settings_files`, `targets`), whom to talk to (`connections`,
`engines`), and what is shown meanwhile (`views`, `notes`). Nothing here reads options or prints results.
"""
