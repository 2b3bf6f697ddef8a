"""Counting tokens where an upstream tells none: a client left, a stream broke off, or the provider never tells.

The text is counted by a real vocabulary, in a process of its own: its tables take 60 MB and half a second to build,
which no worker shall pay. A worker starts the process when it first has something to count, and lets it go when it had
nothing for a minute.
"""
