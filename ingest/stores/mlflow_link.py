"""The way to MLflow, a server or SQLite and a folder beside it; MLflow's errors become ours here."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import RegistryError, StoreAway

ABSENT = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
# No usage reports, no progress bars, and no minutes of silent retries.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MlflowLink:
    """Connects when it is first used: importing MLflow takes a second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: Any = None

    @property
    def client(self) -> Any:
        """MLflow's own client. Raises StoreAway while there is no answer."""
        if self._made is None:
            for name, value in QUIET.items():
                os.environ.setdefault(name, value)
            logging.getLogger("mlflow").setLevel(logging.WARNING)
            from mlflow import MlflowClient  # noqa: PLC0415  takes a second, and few commands need it

            with trouble():
                self._made = MlflowClient(self.url, self.url)
        return self._made

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made where there is none. Raises RegistryError, StoreAway."""
        with trouble(absent=("RESOURCE_ALREADY_EXISTS",)):  # somebody else makes it just now
            if (found := self.found_experiment(name)) is not None:
                return found
            return str(self.client.create_experiment(name, artifact_location=_artifacts_beside(self.url)))
        return str(self.found_experiment(name))

    def found_experiment(self, name: str) -> str | None:
        """The id of the experiment of this name, or None."""
        with trouble():
            found = self.client.get_experiment_by_name(name)
        return None if found is None else str(found.experiment_id)


def _artifacts_beside(url: str) -> str | None:
    """The folder for artifacts of an embedded registry; None leaves it to the server."""
    if not url.startswith("sqlite:///"):
        return None
    return (Path(url.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()


def pages(search: Callable[..., Any], **how: Any) -> Iterator[Any]:
    """Whatever a search of MLflow's finds, page after page."""
    token = None
    while True:
        page = search(page_token=token, **how)
        yield from page
        if not (token := page.token):
            return


def quoted(text: str) -> str:
    """A string in a filter of MLflow's. Raises RegistryError where it cannot be one."""
    if not text or "'" in text:
        raise RegistryError(f"{text!r} is not a name of a model")
    return f"'{text}'"


@contextlib.contextmanager
def trouble(absent: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns MLflow's errors into ours; those in `absent` mean that there is nothing, and end the block quietly."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  see above
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except MlflowException as error:
        if error.error_code in absent:
            return
        sentence = " ".join(str(error).split())
        if error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise StoreAway("model registry", sentence) from error
        raise RegistryError(f"the model registry refuses: {sentence}") from error
    except (OSError, SQLAlchemyError) as error:  # artifacts come by HTTP, and the embedded one is a file
        raise StoreAway("model registry", str(error).splitlines()[0]) from error
