"""The life of a security incident, and the words that it is described in (GB/T 20986-2023)."""

from __future__ import annotations

from enum import StrEnum

from api.db import Machine

INCIDENT = Machine(
    kind="incident",
    initial=frozenset({"reported"}),
    transitions={
        "reported": frozenset({"acknowledged"}),
        "acknowledged": frozenset({"closed"}),
        "closed": frozenset(),
    },
)
PENDING = INCIDENT.states - INCIDENT.final


class Severity(StrEnum):
    """The four levels of 国家网络安全事件报告管理办法, the gravest first."""

    EXTRAORDINARY = "extraordinary"
    MAJOR = "major"
    SERIOUS = "serious"
    GENERAL = "general"


SEVERITIES: dict[Severity, tuple[str, str]] = {
    Severity.EXTRAORDINARY: ("特别重大", "Extraordinary"),
    Severity.MAJOR: ("重大", "Major"),
    Severity.SERIOUS: ("较大", "Serious"),
    Severity.GENERAL: ("一般", "General"),
}


class Kind(StrEnum):
    """The ten classes of GB/T 20986-2023."""

    MALWARE = "malware"
    ATTACK = "attack"
    DATA = "data"
    CONTENT = "content"
    FAULT = "fault"
    VIOLATION = "violation"
    HAZARD = "hazard"
    ANOMALY = "anomaly"
    DISASTER = "disaster"
    OTHER = "other"


KINDS: dict[Kind, tuple[str, str]] = {
    Kind.MALWARE: ("恶意程序", "Malware"),
    Kind.ATTACK: ("网络攻击", "Attack"),
    Kind.DATA: ("数据安全", "Data security"),
    Kind.CONTENT: ("信息内容安全", "Content"),
    Kind.FAULT: ("设备设施故障", "Fault of equipment"),
    Kind.VIOLATION: ("违规操作", "Breach of rules"),
    Kind.HAZARD: ("安全隐患", "Hazard or weakness"),
    Kind.ANOMALY: ("异常行为", "Anomaly"),
    Kind.DISASTER: ("不可抗力", "Force majeure"),
    Kind.OTHER: ("其他", "Other"),
}


class FoundBy(StrEnum):
    """How it came to light: also what supervision, a test or a drill finds is reported here (R16)."""

    OPERATION = "operation"
    SUPERVISION = "supervision"
    TEST = "test"
    DRILL = "drill"
