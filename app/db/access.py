"""Access tokens and remembered replies in the database. Secrets are stored as their SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.db.database import Database, new_id, now
from app.db.records import Reply, TokenRecord
from app.db.tables import replies, tokens

REPLY_KEPT_S = 24 * 3600.0
REPLY_ABANDONED_S = 600.0  # a first request that never ended; its server was killed


class TokenStore:
    """Tokens that open the service when it listens beyond this machine."""

    def __init__(self, database: Database):
        self._database = database
        self._columns = [column for column in tokens.c if column.name != "sha256"]

    def add(self, name: str) -> tuple[TokenRecord, str]:
        """A new token and its secret, which cannot be shown again."""
        secret = f"ts_{secrets.token_urlsafe(32)}"
        values = {"id": new_id("tok"), "name": name, "sha256": hash_secret(secret), "created_at": now()}
        with self._database.write() as connection:
            row = connection.execute(insert(tokens).values(values).returning(*self._columns)).one()
        return TokenRecord(**row._mapping), secret

    def page(self) -> list[TokenRecord]:
        """Every token without its secret, newest first."""
        with self._database.read() as connection:
            query = select(*self._columns).order_by(tokens.c.seq.desc())
            return [TokenRecord(**row._mapping) for row in connection.execute(query)]

    def remove(self, token_id: str) -> bool:
        """Delete a token; False when there is none."""
        with self._database.write() as connection:
            return connection.execute(delete(tokens).where(tokens.c.id == token_id)).rowcount == 1

    def exist(self) -> bool:
        """Whether there is any token."""
        with self._database.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(tokens)))

    def accepts(self, secret: str) -> bool:
        """Whether this is the secret of a token. Its time of use is noted, at most once a minute."""
        with self._database.read() as connection:
            query = select(tokens.c.seq, tokens.c.last_used_at).where(tokens.c.sha256 == hash_secret(secret))
            row = connection.execute(query).one_or_none()
        if row is None:
            return False
        moment = now()
        if row.last_used_at is None or row.last_used_at[:16] != moment[:16]:
            with self._database.write() as connection:
                connection.execute(update(tokens).where(tokens.c.seq == row.seq).values(last_used_at=moment))
        return True


class ReplyStore:
    """Answers to requests that carried an Idempotency-Key, kept for a day."""

    def __init__(self, database: Database):
        self._database = database

    def begin(self, key: str, fingerprint: str) -> Reply | None:
        """Reserve the key for this request; None when that worked, else what is known of the earlier request."""
        with self._database.write() as connection:
            old = time.time() - REPLY_KEPT_S
            abandoned = (replies.c.status.is_(None)) & (replies.c.created_s < time.time() - REPLY_ABANDONED_S)
            connection.execute(delete(replies).where((replies.c.created_s < old) | abandoned))
        try:
            with self._database.write() as connection:
                connection.execute(insert(replies).values(key=key, fingerprint=fingerprint, created_s=time.time()))
            return None
        except IntegrityError:
            with self._database.read() as connection:
                row = connection.execute(select(replies).where(replies.c.key == key)).one_or_none()
            return Reply(row.fingerprint, row.status, row.headers or {}, row.body) if row else None

    def complete(self, key: str, status: int, headers: dict[str, str], body: Any) -> None:
        """Remember the answer."""
        with self._database.write() as connection:
            values = {"status": status, "headers": headers, "body": body}
            connection.execute(update(replies).where(replies.c.key == key).values(values))

    def forget(self, key: str) -> None:
        """Free the key: the request failed and may be tried again."""
        with self._database.write() as connection:
            connection.execute(delete(replies).where(replies.c.key == key))


def hash_secret(secret: str) -> str:
    """SHA-256 in hex. Tokens are 256 random bits, so no salt or slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()
