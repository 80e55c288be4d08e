"""The interpreters that the project is for: every part of the harness, and every test, runs on all of them."""

FREE_THREADED = ("3.13t", "3.14t", "3.15t")
