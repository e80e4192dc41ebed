"""`arrayrefine view`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class View:
    """Show a refinement in the browser; needs the extra 'view'."""

    folder: Annotated[Positional[Path], arg(metavar="OUT")]
    """Output folder of a refinement."""
    port: int = 0
    """Port on 127.0.0.1 (default: one that is free)."""
    browser: bool = True
    """Open the browser; without, only the address is printed."""

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.commands.viewer import Server, make_site
        from arrayrefine.errors import InputError
        from arrayrefine.page.folder import Folder

        if not 0 <= self.port <= 65535:
            raise InputError(f"--port {self.port}: expected 0 to 65535, 0 for any that is free")
        site = make_site(Folder(self.folder))
        try:
            server = Server(site, self.port)
        except OSError as error:
            why = f"--port {self.port} cannot be used: {error.strerror}; leave it out, or give another"
            raise InputError(why) from error
        print(f"{self.folder} at {server.url}\nCtrl-C to end", flush=True)
        if self.browser:
            import webbrowser

            webbrowser.open(server.url)
        with server, contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
        return 0
