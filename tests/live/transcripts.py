"""What a client program prints, while its server is killed and started where the program says RESTART."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ensemble import Ensemble


def said_over_a_kill(
    kind: str, command: Sequence[str], properties: Mapping[str, str], *, timeout_s: int, **options: Any
) -> list[str]:
    """The lines of a program that is given the address of a server of this kind, and that ends in order."""
    said: list[str] = []
    with Ensemble([kind], properties=properties, **options) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        node = ensemble[1]
        errors = ensemble.directory / "errors"
        with (
            open(errors, "wb") as log,
            subprocess.Popen(
                ["timeout", str(timeout_s), *command, node.address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line.rstrip("\n"))
                if said[-1] == "RESTART":
                    node.kill()
                    ensemble.start(node)
                    ensemble.wait_serving(node)
                    process.stdin.write("\n")
                    process.stdin.flush()
        assert process.returncode == 0, "\n".join([*said, errors.read_text()])
    return said
