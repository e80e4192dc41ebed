"""Standard input, output and error of the command line, and its folder, whatever the caller has made of them."""

from __future__ import annotations

import io
import os
import sys


def prepare() -> None:
    """Let all that is said be written somewhere.

    A closed stream becomes the null device. Else a file that is opened later gets its number, and what is said ends in
    it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Å and ° cannot be written in every locale
            stream.reconfigure(errors="replace")


def output_refused() -> bool:
    """Whether standard output takes not even a line's end, as on a full disk; it is then given up."""
    try:
        print(flush=True)
    except OSError:
        give_up_output()
        return True
    return False


def give_up_output() -> None:
    """Send standard output to the null device, so that nothing more is said of it at the end of the process."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def folder_gone() -> bool:
    """Whether the working folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False
