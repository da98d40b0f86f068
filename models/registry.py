"""The zone's model registry: MLflow over a SQLite file, run as `python -m models.registry --store DIR COMMAND`.

Owns candidates and their states. Each candidate is a version of one registered model whose run carries the report,
the model document, parameters and metrics as plain files and numbers; nothing is pickled, no MLflow model flavour is
used and nothing is loaded as code. MLflow is imported here only, in a process of its own: it takes seconds. Each
command prints one JSON object on its last line of standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["TRANSITIONS", "RegistryError", "main"]

MODEL = "joint-credit-model"
FILES = ("model.json", "report.json", "model.lgb.txt")

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "candidate": ("validated", "retired"),
    "validated": ("approved", "retired"),
    "approved": ("released", "retired"),
    "released": ("serving", "retired", "recalled"),
    "serving": ("released", "retired", "recalled"),
    "retired": (),
    "recalled": (),
}


class RegistryError(Exception):
    """A registry command that cannot be carried out."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="models.registry", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder of the registry; made when absent")
    commands = parser.add_subparsers(dest="command", required=True)
    register_parser = commands.add_parser("register", help="a candidate from a folder with model.json and report.json")
    register_parser.add_argument("--folder", type=Path, required=True)
    transition_parser = commands.add_parser("transition", help="move a version through one or more states")
    transition_parser.add_argument("--version", required=True)
    transition_parser.add_argument("--to", required=True, nargs="+", choices=sorted(TRANSITIONS), metavar="STATE")
    transition_parser.add_argument("--reason", default="")
    commands.add_parser("list", help="all versions with their states")
    options = parser.parse_args(arguments)
    try:
        # Before the store is opened: MLflow takes seconds, and a wrong folder should be told at once.
        candidate = _candidate(options.folder) if options.command == "register" else ()
        store = Store(options.store)
        if options.command == "register":
            result: Any = store.register(options.folder, *candidate)
        elif options.command == "transition":
            result = store.transition(options.version, options.to, options.reason)
        else:
            result = {"versions": store.versions()}
    except RegistryError as error:
        _say({"error": {"code": error.code, "message": error.message, "message_zh": error.message_zh}})
        return 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    _say({**result, "cpu_seconds": round(used.ru_utime + used.ru_stime, 2)})
    return 0


class Store:
    """The registry in one folder: `mlflow.db` and `artifacts/`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        self._artifacts = (folder / "artifacts").resolve()
        self._client = _client(uri)

    def register(self, folder: Path, model: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
        """A new candidate: {"version", "sha256", "state"}. The same model registered twice keeps its version."""
        from mlflow.exceptions import MlflowException

        from models.formats import content_sha256

        sha256 = content_sha256(model)
        for known in self.versions():
            if known["sha256"] == sha256:
                return known
        try:
            self._client.create_registered_model(MODEL)
            experiment = self._client.create_experiment(MODEL, artifact_location=self._artifacts.as_uri())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = self._client.get_experiment_by_name(MODEL).experiment_id
        run = self._client.create_run(experiment, run_name=model["job_id"]).info
        self._client.log_batch(run.run_id, metrics=_metrics(report), params=_params(model, report))
        for name in FILES:
            if (folder / name).is_file():
                self._client.log_artifact(run.run_id, str(folder / name))
        self._client.set_terminated(run.run_id)
        tags = {
            "sha256": sha256,
            "job_id": model["job_id"],
            "state": "candidate",
            "history": json.dumps(_entry([], "candidate", "")),
        }
        version = self._client.create_model_version(MODEL, run.artifact_uri, run_id=run.run_id, tags=tags)
        return {"version": str(version.version), "sha256": sha256, "state": "candidate"}

    def transition(self, version: str, path: list[str], reason: str) -> dict[str, Any]:
        """Moves a version along TRANSITIONS through the states of `path`.

        Of a path that it has entered before, it goes only what is left: a command that was killed is given again.
        """
        from mlflow.exceptions import MlflowException

        try:
            tags = self._client.get_model_version(MODEL, version).tags
        except MlflowException:
            raise RegistryError("version_unknown", f"no version {version}", f"没有版本 {version}") from None
        now, history = tags["state"], json.loads(tags["history"])
        for state in path[path.index(now) + 1 :] if now in path else path:
            if state not in TRANSITIONS[now]:
                allowed = ", ".join(TRANSITIONS[now]) or "nothing"
                raise RegistryError(
                    "transition_refused",
                    f"version {version} is {now}; it may become {allowed}, not {state}",
                    f"版本 {version} 当前为 {now}，不能变更为 {state}",
                )
            if history[-1]["state"] != state:  # else the process was killed between the two tags
                history = _entry(history, state, reason)
                self._client.set_model_version_tag(MODEL, version, "history", json.dumps(history, ensure_ascii=False))
            self._client.set_model_version_tag(MODEL, version, "state", state)
            now = state
        return {"version": version, "sha256": tags["sha256"], "state": now}

    def versions(self) -> list[dict[str, Any]]:
        """[{version, sha256, job_id, state}] in order of registration."""
        found = self._client.search_model_versions(f"name = '{MODEL}'")
        return [
            {"version": str(one.version), **{name: one.tags[name] for name in ("sha256", "job_id", "state")}}
            for one in sorted(found, key=lambda one: int(one.version))
        ]


def _candidate(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The valid model and the report in a folder."""
    from models.formats import validate

    try:
        model = validate(json.loads((folder / "model.json").read_bytes()))
        return model, json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError) as error:
        raise RegistryError(
            "candidate_unreadable",
            f"{folder} needs a valid model.json and a report.json: {error}",
            f"{folder} 中缺少有效的 model.json 或 report.json：{error}",
        ) from None


def _client(uri: str) -> Any:
    # Before the import: MLflow reads these once. Telemetry would reach for a network; a pickle would run code.
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
        MLFLOW_DISABLE_ENV_CREATION="true",
        GIT_PYTHON_REFRESH="quiet",
    )
    import logging

    logging.disable(logging.INFO)  # one line a schema migration otherwise
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _metrics(report: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Metric

    at = int(datetime.now(UTC).timestamp() * 1000)
    return [
        Metric(f"{name}.{key}", block[key], at, 0)
        for name, block in report["models"].items()
        for key in ("auc", "ks", "gini", "brier")
        if key in block
    ]


def _params(model: dict[str, Any], report: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    recipe = report["recipe"]
    told = {"dataset": report["dataset"]["name"], "mode": model["mode"], "recipe": recipe["name"], **recipe["params"]}
    return [Param(key, str(value)) for key, value in told.items()]


def _entry(history: list[dict[str, str]], state: str, reason: str) -> list[dict[str, str]]:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [*history, {"at": at, "state": state, "reason": reason}]


def _say(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
