"""The published list of purposes. A consent to one never grants another (PIPL §14, §23; R50)."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    JOINT_TRAINING = "joint_training"
    UNDERWRITING_SCORE = "underwriting_score"
    POST_LOAN_MONITORING = "post_loan_monitoring"
    REPORT_QUERY = "report_query"


DEFINITIONS: dict[Purpose, tuple[str, str]] = {
    Purpose.JOINT_TRAINING: (
        "以本企业的数据参与联合建模训练，用于改进融资信用模型",
        "use of the enterprise's data in training a financing credit model jointly with one named bank",
    ),
    Purpose.UNDERWRITING_SCORE: (
        "在申请融资时对本企业计算信用评分",
        "computing a credit score of the enterprise for a financing application",
    ),
    Purpose.POST_LOAN_MONITORING: (
        "贷后监测本企业的信用状况",
        "watching the enterprise's credit standing during the life of a loan",
    ),
    Purpose.REPORT_QUERY: ("查询本企业的信用报告", "querying the enterprise's credit report"),
}
