"""What the command line and the web console both show: words, advice per error code, and the timeline."""
