"""Side by side with what a user would pick instead.

A package, not a plain folder: Opacus installs a top-level package of this name, which would come first.
"""
