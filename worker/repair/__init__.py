"""Repair tools: retry, reprocess, reconcile, enqueue and redrive, independent of the command line."""
