"""How `edge.wire` is described in the OpenAPI document; routes that read their bodies need it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from edge.wire import Problem

__all__ = ["path_parameter", "query_parameter", "request_body", "responses"]


def responses(model: Any, *refusals: int) -> dict[int | str, dict[str, Any]]:
    """The entries of an answer, and of the statuses that come with a problem."""
    answers: dict[int | str, dict[str, Any]] = {200: {"model": model}}
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    problems = {s: {"description": HTTPStatus(s).phrase, "content": content} for s in refusals}
    return answers | problems


def path_parameter(name: str) -> dict[str, Any]:
    """The entry of a `{name}` in a route's path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def query_parameter(name: str, kind: str, meaning: str) -> dict[str, Any]:
    """The entry of an optional parameter of the query string."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": meaning,
        "schema": {"type": kind},
    }


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """The entry of a JSON body, with the schema's `$defs` put in place."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    content = {"application/json": {"schema": resolve(schema)}}
    return {"requestBody": {"required": True, "content": content}}
