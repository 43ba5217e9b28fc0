"""Evidence off chain: receipts of inferences, the append-only log of their tensors, and the audit of both.

`receipt` is the form, `record` makes one, `check` verifies one alone, `log` is the file that grows over runs, `bundle`
keeps tensors beside it, `rerun` computes operators again. Only `tree` imports pymerkle, and only who writes or reads
a log imports `tree`.
"""
