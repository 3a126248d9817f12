"""Code shared by the commands: options, output, errors and progress."""
