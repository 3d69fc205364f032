"""Settings: one table of names, defaults, units and help texts; the CLI, the docs and compose files derive from it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TRADESPACE_"


def _setting(default: Any, help_text: str, *, unit: str = "", env: str | None = None, **bounds: Any) -> Any:
    alias = AliasChoices(env) if env else None
    return Field(default, description=help_text, json_schema_extra={"unit": unit}, validation_alias=alias, **bounds)


def _data_folder() -> Path:
    return Path(platformdirs.user_data_dir("tradespace", appauthor=False))


class Settings(BaseSettings):
    """Everything that can be configured, from the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True)

    data: Path = Field(
        default_factory=_data_folder,
        description="Folder of the database, models, bundles and built harnesses.",
        json_schema_extra={"unit": "path"},
    )
    database_url: str = _setting(
        "",
        "SQLAlchemy URL of the database; empty means SQLite in the data folder.",
        unit="url",
        env="DATABASE_URL",
    )
    host: str = _setting("127.0.0.1", "Address the service binds to; any but loopback needs a token.")
    port: int = _setting(8000, "Port the service binds to.", ge=0, le=65535)
    token: SecretStr | None = _setting(None, "A token accepted by the service besides those of `tradespace tokens`.")
    upload_limit_bytes: int = _setting(768 * 2**20, "Largest request body accepted.", unit="bytes", ge=1)
    workers: int = _setting(
        max(1, (os.cpu_count() or 2) - 1), "Jobs run at the same time on this machine.", unit="jobs", ge=1
    )
    scheduler: str = _setting("", "Address of a Dask scheduler that runs the jobs; empty runs them here.", unit="url")
    toolchains: Path | None = _setting(None, "TOML file of devices besides the host, see docs/devices.md.", unit="path")
    lease_s: float = _setting(60.0, "A running job whose worker is silent this long is started again.", unit="s", gt=0)
    grace_s: float = _setting(5.0, "Time a cancelled job gets to stop before each harder signal.", unit="s", ge=0)
    streams: int = _setting(64, "Event streams served at the same time.", unit="connections", ge=1)
    example: str = _setting(
        "squeezenet", "Network of the example library prepared when the data folder is new; empty for none."
    )

    @property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data / 'tradespace.db'}"

    @property
    def binds_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, for a child process that must see the same ones."""
        found = {}
        for row in settings_table():
            value = getattr(self, row.name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None:
                found[row.variable] = str(value)
        return found


@dataclass(frozen=True)
class Setting:
    """One row of the table. `default` is text as a user would write it."""

    name: str
    variable: str
    default: str
    unit: str
    help_text: str


def settings_table() -> list[Setting]:
    """Every setting with its environment variable, in declaration order."""
    rows = []
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        alias = field.validation_alias
        variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{PREFIX}{name}".upper()
        if name == "data":
            default = "the user's data folder"
        elif name == "workers":
            default = "cores - 1, at least 1"
        else:
            default = "" if field.default is None else str(field.default)
        rows.append(Setting(name, variable, default, unit, field.description or ""))
    return rows
