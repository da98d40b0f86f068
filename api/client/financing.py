"""What institutions publish and the platform reviews: products, publications, questions; the applications' queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.client.answers import ApplicationDetail, ApplicationOut, ProductDetail, PublicationDetail, QuestionOut
from api.client.connection import Connection


class Financing(Connection):
    # ---- products

    def add_product(self, product: Mapping[str, Any]) -> ProductDetail:
        return self._post("/v1/products", dict(product))

    def change_product(self, product_id: str, product: Mapping[str, Any], version: int | None = None) -> ProductDetail:
        """The whole product anew; with `version`, only while it is still that one (412 otherwise)."""
        return self._put(f"/v1/products/{product_id}", dict(product), version)

    def products(self, state: str | None = None) -> Iterator[ProductDetail]:
        """The institution's own; for the operator everybody's."""
        return self._pages("/v1/products", state=state)

    def product(self, product_id: str) -> ProductDetail:
        return self._get(f"/v1/products/{product_id}")

    def product_codes(self) -> dict[str, Any]:
        """Code lists: classes, what is refused by name, ways to secure a loan, special modules, sizes."""
        return self._get("/v1/products/classes")

    def product_step(self, product_id: str, step: str, reason: str) -> ProductDetail:
        """`submit`, `list` (on the shelf), `delist`, `revise` or `retire`; for the operator `take-down`."""
        return self._post(f"/v1/products/{product_id}/{step}", {"reason": reason})

    def review_product(
        self, product_id: str, opinion: str, decision: str = "approve", flags_considered: bool = False
    ) -> ProductDetail:
        """The platform's review: `approve` or `return`."""
        body = {"decision": decision, "opinion": opinion, "flags_considered": flags_considered}
        return self._post(f"/v1/products/{product_id}/review", body)

    # ---- the platform's queue

    def applications(self, state: str = "submitted") -> Iterator[ApplicationOut]:
        """What was handed in and is in `state`, the oldest first."""
        return self._pages("/v1/applications", state=state)

    def application(self, application_id: str) -> ApplicationDetail:
        return self._get(f"/v1/applications/{application_id}")

    def review_application(
        self,
        application_id: str,
        opinion: str,
        decision: str = "pass",
        institutions: Iterable[str] = (),
        flags_considered: bool = False,
    ) -> ApplicationDetail:
        """`pass` it on to institutions or `return` it. It is no opinion on the credit."""
        body = {"decision": decision, "opinion": opinion, "flags_considered": flags_considered}
        return self._post(f"/v1/applications/{application_id}/review", {**body, "institutions": list(institutions)})

    def push_application(self, application_id: str, institutions: Iterable[str], reason: str) -> ApplicationDetail:
        """Refer an open need to further institutions."""
        return self._post(
            f"/v1/applications/{application_id}/push", {"institutions": list(institutions), "reason": reason}
        )

    # ---- publications and questions

    def publish(self, publication: Mapping[str, Any]) -> PublicationDetail:
        """A draft of a notice, policy, piece of knowledge or FAQ; it is seen once it was reviewed."""
        return self._post("/v1/publications", dict(publication))

    def change_publication(
        self, publication_id: str, publication: Mapping[str, Any], version: int | None = None
    ) -> PublicationDetail:
        return self._put(f"/v1/publications/{publication_id}", dict(publication), version)

    def publications(self, state: str | None = None) -> Iterator[PublicationDetail]:
        return self._pages("/v1/publications", state=state)

    def publication(self, publication_id: str) -> PublicationDetail:
        return self._get(f"/v1/publications/{publication_id}")

    def submit_publication(self, publication_id: str, reason: str) -> PublicationDetail:
        return self._post(f"/v1/publications/{publication_id}/submit", {"reason": reason})

    def review_publication(self, publication_id: str, opinion: str, decision: str = "publish") -> PublicationDetail:
        """`publish` it or `return` it."""
        return self._post(f"/v1/publications/{publication_id}/review", {"decision": decision, "opinion": opinion})

    def withdraw_publication(self, publication_id: str, reason: str) -> PublicationDetail:
        return self._post(f"/v1/publications/{publication_id}/withdraw", {"reason": reason})

    def questions(self, state: str | None = None) -> Iterator[QuestionOut]:
        """Enterprises' questions: for the operator all, for an institution those it was given."""
        return self._pages("/v1/questions", state=state)

    def assign_question(self, question_id: str, institution: str, reason: str) -> QuestionOut:
        return self._post(f"/v1/questions/{question_id}/assign", {"institution": institution, "reason": reason})

    def answer_question(self, question_id: str, answer: str) -> QuestionOut:
        return self._post(f"/v1/questions/{question_id}/answer", {"answer": answer})

    def close_question(self, question_id: str, publish: bool, reason: str) -> QuestionOut:
        """Publish question and answer without the enterprise's name, where it may be, or keep them."""
        return self._post(f"/v1/questions/{question_id}/close", {"publish": publish, "reason": reason})
