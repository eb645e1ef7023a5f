"""The last known wanted state on disk, so that an agent that restarts without the API server goes on with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from virtualserver.agent.record import write_json
from virtualserver.plan.store import READERS, Store
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels")
_KEPT = ("spec", "status", "endpoints", "ports")
_ALWAYS = ObjectKey("default", "kubernetes")


class CachedStore(Store):
    """A store that also keeps what it was fed, trimmed, to be written to disk and read back."""

    def __init__(self) -> None:
        super().__init__()
        self._raw: dict[str, dict[ObjectKey, Json]] = {kind: {} for kind in READERS}
        self.version = 0

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list of a kind: what is not in it is gone."""
        listed = [_trim(kind, obj) for obj in objects]
        super().replace(kind, listed)
        raw: dict[ObjectKey, Json] = {key_of(obj): obj for obj in listed}
        if raw != self._raw[kind]:
            self._raw[kind] = raw
            self.version += 1

    def put(self, kind: str, obj: Json) -> bool:
        """Take one object; returns False when nothing that we look at has changed."""
        trimmed = _trim(kind, obj)
        if not super().put(kind, trimmed):
            return False
        self._raw[kind][key_of(trimmed)] = trimmed
        self.version += 1
        return True

    def drop(self, kind: str, key: ObjectKey) -> None:
        """Forget one object."""
        super().drop(kind, key)
        if self._raw[kind].pop(key, None) is not None:
            self.version += 1

    def snapshot(self) -> dict[str, list[Json]]:
        """Return what decisions depend on: of Services and EndpointSlices only those that are referenced."""
        wanted = {_ALWAYS}
        for key, obj in self._raw["VirtualServer"].items():
            for entry in (obj.get("spec") or {}).get("realServers") or []:
                if isinstance(entry, dict) and entry.get("service"):
                    wanted.add(ObjectKey(key.namespace, entry["service"].get("name", "")))
        kept = {kind: list(objects.values()) for kind, objects in self._raw.items()}
        kept["Service"] = [obj for key, obj in self._raw["Service"].items() if key in wanted]
        kept["EndpointSlice"] = [obj for obj in self._raw["EndpointSlice"].values() if _slice_owner(obj) in wanted]
        return kept


def save(path: Path, snapshot: dict[str, list[Json]]) -> None:
    """Write a snapshot; raises RecordError."""
    write_json(path, {"version": 1, "objects": snapshot})


def load(path: Path) -> Store | None:
    """Return the stored state, or None when there is none that can be read."""
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))["objects"]
        store = Store()
        for kind in READERS:
            store.replace(kind, objects.get(kind, []))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("stored state is not readable and is not used", extra={"path": str(path), "error": str(error)})
        return None
    return store


def _slice_owner(obj: Json) -> ObjectKey:
    labels = obj["metadata"].get("labels") or {}
    return ObjectKey(obj["metadata"].get("namespace", ""), labels.get("kubernetes.io/service-name", ""))


def _trim(kind: str, obj: Json) -> dict[str, Any]:
    metadata = {name: obj["metadata"][name] for name in _METADATA if name in obj["metadata"]}
    trimmed = {"metadata": metadata, **{name: obj[name] for name in _KEPT if name in obj}}
    if kind in ("VirtualServer", "Service"):
        trimmed.pop("status", None)
    elif kind == "Node":
        trimmed["status"] = {"addresses": (obj.get("status") or {}).get("addresses") or []}
    return trimmed
