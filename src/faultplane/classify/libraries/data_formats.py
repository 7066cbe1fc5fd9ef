"""What pydantic (1 and 2) and protobuf raise.

Data that do not fit a model are DataValidation and ``ignored``: whether they came from a caller or
from a service that was asked is not known here. A message that cannot be read is Serialization and
counts as a failure; one that cannot be written was not sent, and is ``ignored``. What is wrong with
a model or a schema itself is the program's own text: Internal, FixCode.
"""

from __future__ import annotations

from typing import Final

from faultplane.classify import vocabulary as v
from faultplane.classify.libraries.rows import Group, by_answer

__all__ = ["GROUPS"]

GROUPS: Final[tuple[Group, ...]] = by_answer(
    v.says(
        "DataValidation",
        "pydantic_core._pydantic_core: ValidationError PydanticCustomError PydanticKnownError "
        "pydantic.error_wrappers: ValidationError pydantic.v1.error_wrappers: ValidationError "
        "pydantic.errors: PydanticValueError PydanticTypeError "
        "pydantic.v1.errors: PydanticValueError PydanticTypeError",
        **v.CERTAIN,
    ),
    v.says(
        "Serialization",
        "pydantic_core._pydantic_core: PydanticSerializationError "
        "PydanticSerializationUnexpectedValue google.protobuf.message: Error "
        "google.protobuf.json_format: Error google.protobuf.text_format: Error",
        **v.CERTAIN,
    ),
    v.says(
        "Serialization",
        "google.protobuf.message: EncodeError google.protobuf.json_format: SerializeToJsonError",
        **v.CERTAIN,
        **v.LOCAL,
    ),
    v.says(
        "Processing",
        "pydantic_core._pydantic_core: PydanticOmit PydanticUseDefault",
        **v.STOPPED,
    ),
    v.says(
        "Configuration",
        "pydantic.env_settings: SettingsError pydantic.v1.env_settings: SettingsError "
        "pydantic_settings.exceptions: SettingsError pydantic_settings.sources: SettingsError",
    ),
    v.says(
        "Internal",
        "pydantic.errors: PydanticUserError ConfigError pydantic.v1.errors: ConfigError "
        "pydantic_core._pydantic_core: SchemaError google.protobuf.descriptor: Error "
        "google.protobuf.descriptor_database: Error",
        **v.BUG,
    ),
    v.says("VersionMismatch", "google.protobuf.runtime_version: VersionError", **v.UNSENT),
)
