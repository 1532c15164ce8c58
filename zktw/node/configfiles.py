"""ConfigFiles: a server's own configuration files, rewritten while it runs (wire document, g.3).

The log holds every reconfiguration: a file that cannot be written is told of, and the server goes on.
"""

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.config.rewrite import backup_path, dynamic_path, dynamic_text, next_path, rewrite_static
from zktw.quorum.ensemble import Ensemble
from zktw.storage.datadir import NEW_PREFIX
from zktw.storage.files import IFiles, IWorker

log = Logger()


class ConfigFiles:
    """Of the static file of this path. All happens in the worker, in order, and each file is whole or as before."""

    def __init__(self, files: IFiles, worker: IWorker, path: str) -> None:
        self._files = files
        self._worker = worker
        self._path = path

    def propose(self, ensemble: Ensemble) -> None:
        """A reconfiguration is proposed."""
        self._do(self._replace, next_path(self._path), ensemble.text())

    def back_up(self) -> None:
        """Members are about to leave the static file: keep a copy of it."""
        self._do(self._back_up)

    def commit(self, ensemble: Ensemble, *, without_client_port: bool) -> None:
        """This configuration is in force; without_client_port: it says where our clients connect."""
        self._do(self._commit, ensemble, without_client_port)

    def _do(self, function: Callable[..., None], *args: object) -> None:
        self._worker.run(function, *args).addErrback(_not_written)

    # -- in the worker -----------------------------------------------------------------------------------------------

    def _back_up(self) -> None:
        self._replace(backup_path(self._path), self._files.read(self._path).decode("utf-8"))

    def _commit(self, ensemble: Ensemble, without_client_port: bool) -> None:
        static = self._files.read(self._path).decode("utf-8")
        dynamic = dynamic_path(self._path, ensemble.version)
        self._replace(dynamic, dynamic_text(ensemble))
        # The file that is named must be there first.
        self._replace(self._path, rewrite_static(static, dynamic, without_client_port=without_client_port))
        if self._files.exists(next_path(self._path)):
            self._files.remove(next_path(self._path))

    def _replace(self, path: str, text: str) -> None:
        directory, _, name = path.rpartition("/")
        new = f"{directory}/{NEW_PREFIX}{name}"
        self._files.write(new, text.encode("utf-8"))
        self._files.sync(new)
        self._files.rename(new, path)
        self._files.sync_directory(directory or "/")


def _not_written(failure: Failure) -> None:
    log.error("a configuration file cannot be written: {reason}", reason=failure.getErrorMessage())
