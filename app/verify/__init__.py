"""Proof of a bundle: compile it, run it, compare it. Shares nothing with the code that made it."""

from app.verify.check import Verification, verify_bundle

__all__ = ["Verification", "verify_bundle"]
