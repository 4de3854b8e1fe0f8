"""The commands of the command line, one file each.

What a command works with is imported when it runs: its options and its help do without torch.
"""
