"""The version of the program, of which every bundle says that it was made by it."""

VERSION = "0.1.0"
