"""Answering requests, each with its own steering and grammar."""
