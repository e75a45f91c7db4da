"""A typed Python function's arguments, as a pydantic model."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model
from pydantic.errors import PydanticSchemaGenerationError

from ..errors import TrimtabError
from .docstring import read_docstring
from .langchain_tools import is_injected


def arguments_model(function: Callable[..., Any], name: str) -> type[BaseModel]:
    """Make the model whose fields, by alias, are the parameters of ``function``.

    Types, defaults and ``Annotated[..., Field(...)]`` come from the signature; a description is
    taken from the docstring unless a ``Field`` gives one. Fields have names of their own and the
    parameters' names as aliases, since a parameter may be called what a model's field may not
    (``schema``, ``_private``). Arguments that the function does not have are refused, and so are
    those that LangGraph injects.

    Args:
        function: Any callable whose parameters can all be given by keyword.
        name: What error messages call the function.

    Raises:
        TrimtabError: A parameter has no type, cannot be given by keyword, or has a type that has
            no JSON Schema.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise TrimtabError(f"cannot read the signature of {name}: {error}") from error
    descriptions = read_docstring(inspect.getdoc(function)).arguments
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(signature.parameters.values()):
        if is_injected(parameter.annotation):
            continue
        _check_parameter(parameter, name)
        default = ... if parameter.default is parameter.empty else parameter.default
        annotated = _annotated(parameter, descriptions.get(parameter.name))
        fields[f"argument_{number}"] = (annotated, default)
    try:
        return create_model(
            "Arguments", __config__=ConfigDict(extra="forbid", title=name), **fields
        )
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise TrimtabError(f"cannot make a schema of the parameters of {name}: {reason}") from error


def keyword_arguments(model: type[BaseModel], arguments: Any) -> dict[str, Any]:
    """Turn JSON arguments into the Python values that the function's types ask for.

    Raises:
        pydantic.ValidationError: An argument does not fit its type.
    """
    values = model.model_validate(arguments)
    return {
        str(field.alias or name): getattr(values, name)
        for name, field in model.model_fields.items()
    }


def _check_parameter(parameter: inspect.Parameter, name: str) -> None:
    if parameter.kind in (
        parameter.POSITIONAL_ONLY,
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    ):
        raise TrimtabError(
            f"expected parameters that can be given by keyword, got {str(parameter)!r} in {name}; "
            "name each argument"
        )
    if parameter.annotation is parameter.empty:
        raise TrimtabError(
            f"parameter {parameter.name!r} of {name} has no type; annotate it, "
            f"for instance {parameter.name}: str"
        )


def _annotated(parameter: inspect.Parameter, description: str | None) -> Any:
    """Put the parameter's name and docstring beside the metadata that its type already carries."""
    annotation: Any = parameter.annotation
    metadata: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    if description:
        metadata.insert(0, Field(description=description))
    return Annotated[(annotation, *metadata, Field(alias=parameter.name))]
