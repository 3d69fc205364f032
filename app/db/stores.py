"""Models, costs, fronts and bundles in the database. With jobs.py and access.py the only SQL of the project."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from app.costs import Cost, CostKey
from app.db.database import Database, new_id, now
from app.db.records import BundleRecord, FrontierRecord, Json, ModelRecord
from app.db.tables import bundles, costs, devices, frontiers, models

_FRONTIER_COLUMNS = [column for column in frontiers.c if column.name != "document"]
_MODEL_COLUMNS = [column for column in models.c if column.name != "graph"]
_KEY_COLUMNS = ("primitive", "shape", "source_hash", "weights_from")


class ModelStore:
    """Imported networks, newest first."""

    def __init__(self, database: Database):
        self._database = database

    def add(self, values: Json) -> ModelRecord | None:
        """Store a model given every column but seq and created_at; None when its id, name or content is taken."""
        try:
            with self._database.write() as connection:
                row = connection.execute(
                    insert(models).values(created_at=now(), **values).returning(*_MODEL_COLUMNS)
                ).one()
        except IntegrityError:
            return None
        return ModelRecord(**row._mapping)

    def get(self, model_id: str) -> ModelRecord | None:
        """The model of that id."""
        with self._database.read() as connection:
            row = connection.execute(select(*_MODEL_COLUMNS).where(models.c.id == model_id)).one_or_none()
        return ModelRecord(**row._mapping) if row else None

    def graph(self, model_id: str) -> Json | None:
        """The model's graph as app.graph.ir.Graph.to_json() wrote it."""
        with self._database.read() as connection:
            return connection.scalar(select(models.c.graph).where(models.c.id == model_id))

    def page(self, *, limit: int | None = None, before: int | None = None) -> list[ModelRecord]:
        """Models with seq below `before`, newest first."""
        query = select(*_MODEL_COLUMNS).order_by(models.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(models.c.seq < before)
        with self._database.read() as connection:
            return [ModelRecord(**row._mapping) for row in connection.execute(query)]

    def find(self, text: str) -> list[ModelRecord]:
        """The model named or identified by `text`, or else every model whose name or id begins with it."""
        with self._database.read() as connection:
            exact = connection.execute(
                select(*_MODEL_COLUMNS).where((models.c.id == text) | (models.c.name == text))
            ).all()
            query = select(*_MODEL_COLUMNS).where(
                models.c.id.startswith(text, autoescape=True)
                | models.c.name.startswith(text, autoescape=True)
                | models.c.sha256.startswith(text, autoescape=True)
            )
            rows = exact or connection.execute(query.order_by(models.c.name)).all()
        return [ModelRecord(**row._mapping) for row in rows]

    def names(self) -> set[str]:
        """Every name in use."""
        with self._database.read() as connection:
            return set(connection.scalars(select(models.c.name)))

    def set_vectors(self, model_id: str, vectors: Sequence[Json]) -> None:
        """Replace the test inputs of a model."""
        with self._database.write() as connection:
            connection.execute(update(models).where(models.c.id == model_id).values(vectors=list(vectors)))

    def remove(self, model_id: str) -> bool:
        """Delete the model with its fronts and bundles; False when there is none."""
        with self._database.write() as connection:
            return connection.execute(delete(models).where(models.c.id == model_id)).rowcount == 1

    def blobs_in_use(self, kind: str) -> set[str]:
        """SHA-256 of every file of a kind (models, vectors, bundles) that a row still refers to."""
        with self._database.read() as connection:
            if kind == "models":
                return set(connection.scalars(select(models.c.sha256)))
            if kind == "bundles":
                return set(connection.scalars(select(bundles.c.sha256)))
            lists = connection.scalars(select(models.c.vectors)).all()
        return {sha256 for vectors in lists for vector in vectors for sha256 in vector["inputs"].values()}


class CostStore:
    """Measured costs by device id (name:fingerprint). Every cost is committed when it is put."""

    def __init__(self, database: Database):
        self._database = database

    def register(self, device_id: str, name: str, environment: Json) -> None:
        """Record the device and its environment as it is now."""
        values = {"id": device_id, "name": name, "created_at": now(), "environment": environment}
        with self._database.write() as connection:
            statement = _insert(connection, devices).values(values)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["id"], set_={"environment": environment})
            )

    def device_ids(self, name: str) -> list[str]:
        """Every recorded device id of that name, newest first."""
        query = select(devices.c.id).where(devices.c.name == name).order_by(devices.c.seq.desc())
        with self._database.read() as connection:
            return list(connection.scalars(query))

    def registered(self) -> list[Json]:
        """Every recorded device: id, name, created_at, environment; newest first."""
        query = select(devices.c.id, devices.c.name, devices.c.created_at, devices.c.environment)
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query.order_by(devices.c.seq.desc()))]

    def put(self, device_id: str, found: Iterable[Cost]) -> int:
        """Store costs, replacing those of the same key; returns how many. The device must be registered."""
        rows = [
            {
                "device": device_id,
                **{name: getattr(cost.key, name) for name in _KEY_COLUMNS},
                "median_ns": cost.median_ns,
                "p10_ns": cost.p10_ns,
                "p90_ns": cost.p90_ns,
                "samples_ns": list(cost.samples_ns),
                "measured_at": now(),
            }
            for cost in found
        ]
        if not rows:
            return 0
        with self._database.write() as connection:
            statement = _insert(connection, costs)
            changed = ("median_ns", "p10_ns", "p90_ns", "samples_ns", "measured_at")
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["device", *_KEY_COLUMNS],
                    set_={name: statement.excluded[name] for name in changed},
                ),
                rows,
            )
        return len(rows)

    def get(self, device_id: str, *, shapes: Iterable[str] | None = None) -> list[Cost]:
        """Costs of a device, of the given shapes only if any are given."""
        query = select(costs).where(costs.c.device == device_id).order_by(costs.c.seq)
        found: list[Any] = []
        with self._database.read() as connection:
            if shapes is None:
                found += connection.execute(query).all()
            else:
                listed = sorted(set(shapes))
                for start in range(0, len(listed), 500):  # databases limit the values of one statement
                    chunk = query.where(costs.c.shape.in_(listed[start : start + 500]))
                    found += connection.execute(chunk).all()
        return [
            Cost(
                CostKey(row.primitive, row.shape, row.source_hash, row.weights_from),
                tuple(row.samples_ns),
                row.median_ns,
                row.p10_ns,
                row.p90_ns,
            )
            for row in found
        ]

    def version(self, device_id: str) -> tuple[int, str]:
        """Changes whenever a cost of the device is added or replaced."""
        query = select(func.count(), func.max(costs.c.measured_at)).where(costs.c.device == device_id)
        with self._database.read() as connection:
            count, newest = connection.execute(query).one()
        return count, newest or ""


class FrontierStore:
    """Traced fronts. The document is the JSON of app.points.Frontier."""

    def __init__(self, database: Database):
        self._database = database

    def add(
        self,
        *,
        model: str,
        device: str,
        device_name: str,
        memory: str,
        limits: str,
        document: Json,
    ) -> FrontierRecord:
        """Store a front."""
        values = {
            "id": new_id("fr"),
            "model": model,
            "device": device,
            "device_name": device_name,
            "memory": memory,
            "limits": limits,
            "created_at": now(),
            "points": len(document["points"]),
            "solve_s": document["solve_s"],
            "costs_digest": document["costs_digest"],
            "document": document,
        }
        with self._database.write() as connection:
            row = connection.execute(insert(frontiers).values(values).returning(*_FRONTIER_COLUMNS)).one()
        return FrontierRecord(**row._mapping)

    def get(self, frontier_id: str) -> FrontierRecord | None:
        """The front of that id, without its document."""
        with self._database.read() as connection:
            query = select(*_FRONTIER_COLUMNS).where(frontiers.c.id == frontier_id)
            row = connection.execute(query).one_or_none()
        return FrontierRecord(**row._mapping) if row else None

    def document(self, frontier_id: str) -> Json | None:
        """The document of that front."""
        with self._database.read() as connection:
            return connection.scalar(select(frontiers.c.document).where(frontiers.c.id == frontier_id))

    def page(
        self,
        *,
        model: str | None = None,
        device_name: str | None = None,
        memory: str | None = None,
        limits: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[FrontierRecord]:
        """Fronts that match, newest first."""
        query = select(*_FRONTIER_COLUMNS).order_by(frontiers.c.seq.desc()).limit(limit)
        wanted = {"model": model, "device_name": device_name, "memory": memory, "limits": limits}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(frontiers.c[name] == value)
        if before is not None:
            query = query.where(frontiers.c.seq < before)
        with self._database.read() as connection:
            return [FrontierRecord(**row._mapping) for row in connection.execute(query)]


class BundleStore:
    """Verified bundles; nothing else is ever stored here."""

    def __init__(self, database: Database):
        self._database = database

    def add(
        self, *, frontier: str, point: str, prefix: str, sha256: str, size_bytes: int, verified: Json
    ) -> BundleRecord:
        """Store a bundle."""
        values = {
            "id": new_id("bdl"),
            "frontier": frontier,
            "point": point,
            "prefix": prefix,
            "created_at": now(),
            "sha256": sha256,
            "size_bytes": size_bytes,
            "verified": verified,
        }
        with self._database.write() as connection:
            row = connection.execute(insert(bundles).values(values).returning(bundles)).one()
        return BundleRecord(**row._mapping)

    def get(self, bundle_id: str) -> BundleRecord | None:
        """The bundle of that id."""
        with self._database.read() as connection:
            row = connection.execute(select(bundles).where(bundles.c.id == bundle_id)).one_or_none()
        return BundleRecord(**row._mapping) if row else None

    def page(
        self, *, frontier: str | None = None, limit: int | None = None, before: int | None = None
    ) -> list[BundleRecord]:
        """Bundles that match, newest first."""
        query = select(bundles).order_by(bundles.c.seq.desc()).limit(limit)
        if frontier is not None:
            query = query.where(bundles.c.frontier == frontier)
        if before is not None:
            query = query.where(bundles.c.seq < before)
        with self._database.read() as connection:
            return [BundleRecord(**row._mapping) for row in connection.execute(query)]

    def of_model(self, model: str, device: str) -> dict[str, BundleRecord]:
        """The newest bundle of each point, over all fronts of a model on a device id: a point is its selection."""
        query = (
            select(bundles)
            .join(frontiers, frontiers.c.id == bundles.c.frontier)
            .where(frontiers.c.model == model, frontiers.c.device == device)
            .order_by(bundles.c.seq)
        )
        with self._database.read() as connection:
            return {row.point: BundleRecord(**row._mapping) for row in connection.execute(query)}


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _insert(connection: Connection, table: Any) -> Any:
    # ON CONFLICT is spelled alike in both databases but lives in their dialects.
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
