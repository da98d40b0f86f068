"""The published code lists: purposes, ways of using data, and categories of data, each with its definition.

A consent to one purpose never grants another (PIPL §14, §23; R14), and every purpose is one of enterprise financing
(R50): there is no code for anything else. Owns words only, never a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

# raised when a code or a definition changes; a consent keeps the definition that was published when it was given
VERSION = 2


class Purpose(StrEnum):
    JOINT_TRAINING = "joint_training"
    UNDERWRITING_SCORE = "underwriting_score"
    POST_LOAN_MONITORING = "post_loan_monitoring"
    REPORT_QUERY = "report_query"


class Mode(StrEnum):
    """How data may be used; not to be taken for a job's way of computing (`federated`, `zone`)."""

    JOINT_TRAINING = "joint_training"
    SCORING = "scoring"
    MONITORING = "monitoring"
    REPORT_QUERY = "report_query"
    VERIFICATION = "verification"
    RAW_DETAIL = "raw_detail"


DEFINITIONS: Mapping[Purpose, tuple[str, str]] = {
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

MODE_DEFINITIONS: Mapping[Mode, tuple[str, str]] = {
    Mode.JOINT_TRAINING: (
        "联合训练：数据不出域，仅参与模型计算",
        "joint training: data stay in their domain and only take part in computing a model",
    ),
    Mode.SCORING: ("评分：仅提供评分与原因", "scoring: only a score and its reasons are given out"),
    Mode.MONITORING: (
        "贷后监测：仅提供预警与评分变化",
        "monitoring: only warnings and changes of the score are given out",
    ),
    Mode.REPORT_QUERY: ("报告查询：提供信用报告", "report query: a credit report is given out"),
    Mode.VERIFICATION: (
        "核验比对：仅回答“一致”或“不一致”",
        "verification: only “matches” or “does not match” is answered",
    ),
    Mode.RAW_DETAIL: (
        "原始明细：提供所列数据项的原始记录",
        "raw detail: the original records of the listed items are given out",
    ),
}

PURPOSES = frozenset(Purpose)

# The first is what the purpose is for; a consent may carry fewer, never others (R43, PIPL §23).
PURPOSE_MODES: Mapping[Purpose, tuple[Mode, ...]] = {
    Purpose.JOINT_TRAINING: (Mode.JOINT_TRAINING,),
    Purpose.UNDERWRITING_SCORE: (Mode.SCORING, Mode.VERIFICATION),
    Purpose.POST_LOAN_MONITORING: (Mode.MONITORING, Mode.VERIFICATION),
    Purpose.REPORT_QUERY: (Mode.REPORT_QUERY, Mode.VERIFICATION, Mode.RAW_DETAIL),
}

# The categories of the credit-information catalogue (R36); its items are known to the catalogue, not here.
CATEGORIES: Mapping[str, tuple[str, str]] = {
    "registration": ("市场主体登记", "registration"),
    "key_persons": ("主要人员", "key persons"),
    "judicial": ("司法", "judicial"),
    "tax": ("纳税", "tax"),
    "social_insurance": ("社会保险", "social insurance"),
    "housing_fund": ("住房公积金", "housing fund"),
    "utilities": ("水电气费", "water, electricity, gas"),
    "real_estate": ("不动产", "real estate"),
    "administrative": ("行政管理", "administrative"),
    "environment": ("生态环境", "environment"),
    "qualifications": ("资质", "qualifications"),
    "import_export": ("进出口", "import and export"),
    "intellectual_property": ("知识产权", "intellectual property"),
    "research": ("科技研发", "research and development"),
    "agriculture": ("新型农业经营主体", "new agricultural entities"),
    "operation": ("经营", "operation"),
    "credit": ("信贷", "credit"),
}
# Data about natural persons: held only with the person's own consent besides the enterprise's (PIPL §13, §29).
PERSONAL_CATEGORIES = frozenset({"key_persons"})
# Data that stay with the lender: they take part in joint training and are told to nobody (R43).
LENDER_CATEGORIES = frozenset({"credit"})
