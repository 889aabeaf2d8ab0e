"""Whatever goes wrong is told in one form: problem details, RFC 9457."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from .errors import ApiError, InvalidRequestError
from .schemas import Fault, Problem

MEDIA_TYPE = "application/problem+json"
REFERENCE = {"$ref": "#/components/schemas/Problem"}


class ProblemResponse(JSONResponse):
    """A problem as a client gets it."""

    media_type = MEDIA_TYPE


def of_error(error: ApiError, instance: str, faults: Iterable[Fault] = ()) -> ProblemResponse:
    """The answer that tells a client of an error of this API."""
    problem = Problem(
        type=f"urn:tinyml:{error.name}",
        title=error.title,
        status=error.status,
        detail=str(error),
        instance=instance,
        errors=list(faults),
    )
    return ProblemResponse(problem.model_dump(), error.status, error.headers)


def of_status(status: int, detail: str, instance: str, headers: dict[str, str] | None = None) -> ProblemResponse:
    """The answer for what HTTP itself has a word for: no such page, not that method."""
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        errors=[],
    )
    return ProblemResponse(problem.model_dump(), status, headers)


def documented(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can fail in these ways, an example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status, {"description": kind.title, "content": {MEDIA_TYPE: {"schema": REFERENCE, "examples": {}}}}
        )
        problem = {"type": f"urn:tinyml:{kind.name}", "title": kind.title, "status": kind.status}
        about = (kind.__doc__ or kind.title).splitlines()[0]
        response["content"][MEDIA_TYPE]["examples"][kind.name] = {"summary": about, "value": problem}
    return responses


def install(app: FastAPI) -> None:
    """Makes `app` tell every failure as a problem, and its OpenAPI document say so."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            document["components"]["schemas"] |= _schemas()
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


def _api_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, ApiError)
    return of_error(error, request.url.path)


def _invalid(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    # What was sent is left out: it may be large, secret, or not even text that JSON could carry.
    faults = [Fault(at=".".join(map(str, item["loc"])), why=item["msg"]) for item in error.errors()[:20]]
    sentence = "; ".join(f"{fault.at}: {fault.why}" for fault in faults[:3])
    return of_error(InvalidRequestError(sentence), request.url.path, faults)


def _http(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return of_status(error.status_code, str(error.detail), request.url.path, headers)


def _failed(request: Request, _error: Exception) -> ProblemResponse:
    # Starlette raises the error again once this is sent, so that the log has it.
    return of_error(ApiError("The server could not handle this request; its log says why."), request.url.path)
