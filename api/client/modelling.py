"""Joint modelling: projects, templates, datasets, jobs, releases, the model registry, scores."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.client.answers import (
    BatchOut,
    Comparison,
    DatasetOut,
    DatasetSummary,
    Events,
    FeatureOut,
    JobOut,
    JobSummary,
    ModelLine,
    NoticeOut,
    ProjectOut,
    ProjectSummary,
    ReleaseConsents,
    ReleaseOut,
    ScoreOut,
    TemplateOut,
)
from api.client.connection import Connection

JOB_ENDS = frozenset({"succeeded", "failed", "cancelled", "stopped_by_consent"})


class Modelling(Connection):
    # ---- projects, templates, datasets, models

    def propose_project(self, project: Mapping[str, Any]) -> ProjectOut:
        return self._post("/v1/projects", dict(project))

    def decide_project(self, project_id: str, reason: str, decision: str = "approve") -> ProjectOut:
        return self._post(f"/v1/projects/{project_id}/decisions", {"decision": decision, "reason": reason})

    def end_project(self, project_id: str, reason: str) -> ProjectOut:
        return self._post(f"/v1/projects/{project_id}/end", {"reason": reason})

    def project(self, project_id: str) -> ProjectOut:
        return self._get(f"/v1/projects/{project_id}")

    def projects(self, state: str | None = None) -> Iterator[ProjectSummary]:
        """Every project one may see, newest first, page by page."""
        return self._pages("/v1/projects", state=state)

    def datasets(self) -> list[DatasetSummary]:
        return self._get("/v1/datasets")["items"]

    def dataset(self, node: str, name: str) -> DatasetOut:
        """With its columns."""
        return self._get(f"/v1/datasets/{node}/{name}")

    def features(self, category: str | None = None, text: str | None = None) -> list[FeatureOut]:
        return self._get("/v1/features", category=category, text=text)["items"]

    def add_template(self, template: Mapping[str, Any]) -> TemplateOut:
        return self._post("/v1/job-templates", dict(template))

    def templates(self) -> list[TemplateOut]:
        return self._get("/v1/job-templates")["items"]

    def retire_template(self, template_id: str, reason: str) -> TemplateOut:
        return self._post(f"/v1/job-templates/{template_id}/retire", {"reason": reason})

    def propose_from(self, template_id: str, changes: Mapping[str, Any], reason: str) -> JobOut:
        return self._post(f"/v1/job-templates/{template_id}/jobs", {"changes": dict(changes), "reason": reason})

    def clone_job(self, job_id: str, changes: Mapping[str, Any], reason: str) -> JobOut:
        return self._post(f"/v1/jobs/{job_id}/clone", {"changes": dict(changes), "reason": reason})

    def compare_jobs(self, *job_ids: str) -> Comparison:
        return self._get("/v1/jobs/compare", job=list(job_ids))

    def models(self, stage: str | None = None) -> Iterator[ModelLine]:
        """Every model one may see, newest first, page by page."""
        return self._pages("/v1/models", stage=stage)

    def model(self, job_id: str) -> ModelLine:
        return self._get(f"/v1/models/{job_id}")

    # ---- jobs

    def propose_job(self, proposal: Mapping[str, Any]) -> JobOut:
        return self._post("/v1/jobs", dict(proposal))

    def jobs(self, state: str | None = None) -> list[JobSummary]:
        return list(self._pages("/v1/jobs", state=state))

    def job(self, job_id: str) -> JobOut:
        return self._get(f"/v1/jobs/{job_id}")

    def approve_job(self, job_id: str, reason: str, decision: str = "approve") -> JobOut:
        return self._post(f"/v1/jobs/{job_id}/approvals", {"decision": decision, "reason": reason})

    def cancel_job(self, job_id: str, reason: str) -> JobOut:
        return self._post(f"/v1/jobs/{job_id}/cancel", {"reason": reason})

    def retry_job(self, job_id: str, reason: str) -> JobOut:
        return self._post(f"/v1/jobs/{job_id}/retry", {"reason": reason})

    def job_events(self, job_id: str, after: int = 0, wait: float = 0) -> Events:
        return self.call("GET", f"/v1/jobs/{job_id}/events", params={"after": after, "wait": wait}, timeout=wait + 30)

    def follow_job(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every event of the job as it comes, until the job has ended."""
        while True:
            page = self.job_events(job_id, after, wait=20)
            yield from page["events"]
            after = page["last_seq"]
            if page["state"] in JOB_ENDS and not page["events"]:
                return

    def wait_job(self, job_id: str, seconds: float) -> JobOut:
        """The job once it has ended. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        after = 0
        while True:
            page = self.job_events(job_id, after, wait=max(0.0, min(20.0, deadline - time.monotonic())))
            after = page["last_seq"]
            if page["state"] in JOB_ENDS:
                return self.job(job_id)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is {page['state']} after {seconds:.0f} s")

    def report(self, job_id: str) -> dict[str, Any]:
        return self._get(f"/v1/jobs/{job_id}/report")

    # ---- releases and scores

    def request_release(self, job_id: str, reason: str) -> ReleaseOut:
        return self._post("/v1/releases", {"job_id": job_id, "reason": reason})

    def releases(self, state: str | None = None) -> list[ReleaseOut]:
        return list(self._pages("/v1/releases", state=state))

    def release(self, release_id: str) -> ReleaseOut:
        return self._get(f"/v1/releases/{release_id}")

    def review_release(self, release_id: str, decision: str, comment: str) -> ReleaseOut:
        return self._post(f"/v1/releases/{release_id}/reviews", {"decision": decision, "comment": comment})

    def approve_release(self, release_id: str, reason: str) -> ReleaseOut:
        return self._post(f"/v1/releases/{release_id}/approve", {"reason": reason})

    def veto_release(self, release_id: str, reason: str) -> ReleaseOut:
        return self._post(f"/v1/releases/{release_id}/veto", {"reason": reason})

    def release_consents(self, release_id: str) -> ReleaseConsents:
        """Which share of the cohort has withdrawn since."""
        return self._get(f"/v1/releases/{release_id}/consents")

    def recall_release(self, release_id: str, reason: str) -> ReleaseConsents:
        """Takes the model out of service for good."""
        return self._post(f"/v1/releases/{release_id}/recall", {"reason": reason})

    def retraining_notices(self, state: str | None = None) -> list[NoticeOut]:
        """Models whose cohort has lost enterprises."""
        return self._get("/v1/retraining-notices", state=state, limit=500)["items"]

    def close_retraining_notice(self, notice_id: str, reason: str, retrained_by: str | None = None) -> NoticeOut:
        """Retrained by a job, or not, for a reason."""
        body = {"reason": reason, "retrained_by": retrained_by}
        return self._post(f"/v1/retraining-notices/{notice_id}/close", body)

    def score(
        self, enterprise: str, reason: str, *, job_id: str | None = None, release_sha256: str | None = None
    ) -> ScoreOut:
        """Score of one enterprise by the released model of `job_id` or with `release_sha256`."""
        model = {"job_id": job_id} if job_id is not None else {"release_sha256": release_sha256}
        return self._post("/v1/scores", {**model, "enterprise": enterprise, "reason": reason})

    def score_batch(
        self, enterprises: Iterable[str], reason: str, *, sha256: str | None = None, job_id: str | None = None
    ) -> BatchOut:
        """Up to 200 enterprises; each item holds a score or why there is none."""
        model = {"job_id": job_id} if sha256 is None else {"release_sha256": sha256}
        return self._post("/v1/scores/batch", {**model, "enterprises": list(enterprises), "reason": reason})
