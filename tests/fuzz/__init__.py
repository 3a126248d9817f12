"""Random damage to files of every format, judged by what a real decoder process makes of them."""
