"""The tools around the ladder: the table of its rungs, its check, the propagation of fixes. Standard library only."""
