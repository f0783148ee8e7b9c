"""Agents talk to a scripted server over real HTTP."""

from scripted_server import play, server

__all__ = ["play", "server"]
