"""The commands of `toolrm`, one module each.

A command's module has `Config` (a chz class), `BASE` (the name in configs/ that it starts from, or None), and
`run(config, overwrite) -> exit code`. Its docstring is its help.
"""
