"""Side-by-side timing of exported bundles and other runtimes: each in a process of its own, asked in turn.

Knows bundles as folders of C and peers as processes; it knows no database, no front and no web.
"""
