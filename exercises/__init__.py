"""The exercises: a rung with a hole in it, for you to fill, judged by the suite each time that you save.

`python -m exercises` begins, or goes on where you left; README.md in this folder says the rest.
"""
