"""What leaves the box, and how: settings, redaction, batches, targets, the runs of `intentd sync`.

It reads the outbox through a small protocol (`edge.sync.outbox`) and never opens the database.
"""
