"""What must hold before the server opens: it can keep its books, and lets in nobody unawares."""
import logging
from datetime import UTC, datetime
from pathlib import Path

from aioapp.errors import StoreUnavailable
from aioapp.keys import Key
from aioapp.settings import SettingError, Settings
from aioapp.settings.config_file import is_exposed
from aioapp.store.embedded import open_store, reason_of
from aioapp.usage import parse_prices

log = logging.getLogger("aioapp.app")

OPEN_TO_PAGES = (
    "There are no keys, and pages of any origin may call: any web page that you open can use this server and spend "
    "your credit. Name the pages that may with --cors-origin, or create a key with: aioapp keys create NAME")
OPEN_TO_ALL = "There are no keys: everybody who reaches %s can use this server and spend your credit."
NEEDS_KEYS = (
    "{where} is not on loopback, and there are no keys: everybody who reaches it could {could}. "
    "Create one with `aioapp keys create NAME`, or say --allow-anonymous")

UNSIGNED = (
    "--alert-webhook: it needs a secret in API_ALERT_WEBHOOK_SECRET, such as "
    "`echo whsec_$(openssl rand -base64 32)` makes: receivers know by it that alerts are this server's")


async def check(settings: Settings, database: Path, *, where: str | None) -> None:
    """Raises `SettingError`. `where` is the address that others can reach, None if only this machine can."""
    check_prices(settings)
    check_alerts(settings)
    if settings.config and is_exposed(settings.config):
        log.warning("Others may read %s, and there is a secret in it: chmod 600 keeps it from them.", settings.config)
    keys = await keys_in(database)
    if not keys:
        check_keyless(settings, where=where)
    log.info("The database is %s.", database)
    log.info("Keys: %s.", counted(keys))


def check_keyless(settings: Settings, *, where: str | None) -> None:
    """Raises `SettingError` where others could come in, and warns of those who can."""
    if where is not None and not settings.allow_anonymous:
        raise SettingError(NEEDS_KEYS.format(where=where, could="use it" if settings.simulate else "spend your credit"))
    if settings.simulate:
        return  # there is nothing to spend
    if where is not None:
        log.warning(OPEN_TO_ALL, where)
    if "*" in settings.cors_origins:
        log.warning(OPEN_TO_PAGES)


def check_prices(settings: Settings) -> None:
    if settings.prices is not None:
        try:
            parse_prices(settings.prices)
        except ValueError as error:
            raise SettingError(f"--prices: {error}") from None


def check_alerts(settings: Settings) -> None:
    if settings.alert_webhook is not None and settings.alert_webhook_secret is None:
        raise SettingError(UNSIGNED)


async def keys_in(database: Path) -> list[Key]:
    """All keys that were ever made. Makes the database where there is none. Raises `SettingError`."""
    try:
        async with open_store(database, create=True, quiet=True) as store:
            return await store.keys.listed()
    except StoreUnavailable as error:
        raise SettingError(f"--database: {database} cannot be used: {reason_of(error)}") from None


def counted(keys: list[Key]) -> str:
    if not keys:
        return "none was ever made"
    now = datetime.now(UTC)
    active = sum(key.state(now) == "active" for key in keys)
    return (f"{active} {'lets' if active == 1 else 'let'} callers in, "
            f"of {len(keys)} that {'was' if len(keys) == 1 else 'were'} ever made")
