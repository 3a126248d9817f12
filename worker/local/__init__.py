"""Embedded AWS, demo images and contact sheet, for the commands `demo` and `local` and for the tests."""
