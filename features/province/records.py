"""The records that public units and banks would hold of the simulated enterprises: all 17 categories.

Owns what each source sees of an enterprise and when. Values are drawn from the hidden health, so records reveal it in
part. Every function returns facts without blemish; errors, delays and amendments are `blemish`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from features.province.enterprises import DISTRICTS, FIRST, LAST, MONTHS, SECTORS, Enterprises

Items = dict[str, np.ndarray]
END = (LAST + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
_NEVER = np.datetime64("NaT")


@dataclass(frozen=True)
class Facts:
    """Records of one category from one source. `later`: an item that the source only learns on the day in it."""

    category: str
    source: str
    who: np.ndarray
    day: np.ndarray
    items: Items
    later: str = ""
    extra: Items = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.who)


class Province:
    """One drawing of all records; the same generator state gives the same."""

    def __init__(self, rng: np.random.Generator, people: Enterprises) -> None:
        self.rng = rng
        self.people = people
        month = np.arange(MONTHS)
        self._month_end = (FIRST + month + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
        calendar = (FIRST + month).astype(int) % 12 + 1
        peak = np.array([one[4] for one in SECTORS])[people.sector]
        strength = np.array([one[5] for one in SECTORS])[people.sector]
        season = strength[:, None] * np.cos(2 * np.pi * (calendar[None, :] - peak[:, None]) / 12)
        # what the enterprise turns over each month, logarithmic: size, season, and growth that follows its health
        growth = np.cumsum(0.012 * people.visible, axis=1)
        self._sales = 11.5 + people.size[:, None] + season + growth
        self.alive = month[None, :] >= people.born[:, None]

    def all(self) -> list[Facts]:
        makers: tuple[Callable[[], list[Facts]], ...] = (
            self.registration, self.key_persons, self.tax, self.social_insurance, self.housing_fund, self.utilities,
            self.import_export, self.judicial, self.administrative, self.operation, self.environment,
            self.qualifications, self.intellectual_property, self.research, self.agriculture, self.real_estate,
        )  # fmt: skip
        return [facts for maker in makers for facts in maker()]

    # ---- monthly -------------------------------------------------------------------------------------------------

    def tax(self) -> list[Facts]:
        who, month = self._panel(np.ones(len(self.people), bool))
        health = self.people.visible[who, month]
        sales = np.exp(self._sales[who, month] + self._noise(who, 0.15))
        zero = self._odds(-4.2 - 0.8 * health)
        sales = np.where(zero, 0, sales)
        due = 0.03 * sales
        behind = self._odds(-3.4 - 1.0 * health)
        paid = np.where(behind, due * self.rng.random(len(who)), due)
        vat = self._facts("tax", "tax_bureau", who, self._month_end[month], {
            "filing_kind": _constant("vat", who), "sales": _cents(sales), "tax_due": _cents(due),
            "tax_paid": _cents(paid), "arrears": _cents(due - paid), "late": self._odds(-3.0 - 0.7 * health),
            "zero": zero,
        })  # fmt: skip
        # the bureau grades once a year, in April, on the year before
        april = np.flatnonzero((FIRST + np.arange(MONTHS)).astype(int) % 12 == 3)
        who = np.repeat(np.arange(len(self.people)), len(april))
        month = np.tile(april, len(self.people))
        keep = self.alive[who, month] & (self.rng.random(len(who)) < 0.93)
        who, month = who[keep], month[keep]
        seen = self.people.visible[who, month] + self._noise(who, 0.9)
        grade = np.array(["D", "C", "M", "B", "A"])[np.digitize(seen, (-1.9, -1.2, -0.5, 0.6))]
        graded = self._facts("tax", "tax_bureau", who, self._month_end[month],
                             {"filing_kind": _constant("grade", who), "grade": grade})  # fmt: skip
        who, day = self._happens(0.0006, 1.1)
        abnormal = self._facts("tax", "tax_bureau", who, day,
                               {"filing_kind": _constant("abnormal", who), "ended_on": self._closes(day, 400)},
                               later="ended_on")  # fmt: skip
        return [vat, graded, abnormal]

    def social_insurance(self) -> list[Facts]:
        who, month = self._panel(self.people.size > -1.4)
        health = self.people.visible[who, month]
        heads = np.maximum(1, np.round(np.exp(self._sales[who, month] - 9.6 + self._noise(who, 0.05)))).astype(int)
        base = heads * np.round(4500 + 900 * self.people.size[who] + 200 * health, 2)
        due = 0.26 * base
        short = self._odds(-3.6 - 0.95 * health)
        paid = np.where(short, due * self.rng.random(len(who)), due)
        return [self._facts("social_insurance", "human_resources", who, self._month_end[month], {
            "headcount": heads, "contribution_base": _cents(base), "due": _cents(due), "paid": _cents(paid),
            "arrears": _cents(due - paid),
        })]  # fmt: skip

    def housing_fund(self) -> list[Facts]:
        who, month = self._panel(~self.people.trader & (self.people.size > -0.3))
        members = np.maximum(1, np.round(np.exp(self._sales[who, month] - 9.9))).astype(int)
        due = members * 520.0
        short = self._odds(-3.3 - 0.8 * self.people.visible[who, month])
        opened = self.people.established[who] + np.timedelta64(20, "D")
        return [self._facts("housing_fund", "housing_fund_centre", who, self._month_end[month], {
            "members": members, "due": _cents(due), "paid": _cents(np.where(short, 0.6 * due, due)),
            "opened_on": np.minimum(opened, self._month_end[month]),
        })]  # fmt: skip

    def utilities(self) -> list[Facts]:
        found = []
        metered = self.rng.random(len(self.people)) > 0.15  # else the meter is the landlord's
        piped = np.isin(self.people.district, DISTRICTS[:4])  # no gas company delivers for the other two
        for name, source, factor, price, has in (
            ("water", "water_company", 0.002, 4.1, metered),
            ("electricity", "power_company", 0.045, 0.72, metered),
            ("gas", "gas_company", 0.004, 3.6, metered & piped & np.isin(self.people.sector, (0, 1, 5))),
        ):
            who, month = self._panel(has)
            health = self.people.visible[who, month]
            used = factor * np.exp(self._sales[who, month] + 0.05 * health + self._noise(who, 0.12))
            used = np.where(self._odds(-5.0 - 0.9 * health), 0, used)
            billed = price * used
            overdue = self._odds(-2.9 - 0.9 * health) & (used > 0)
            days = np.where(overdue, 1 + self.rng.integers(0, 45, len(who)), 0)
            found.append(self._facts("utilities", source, who, self._month_end[month], {
                "utility": _constant(name, who), "consumption": _cents(used), "billed": _cents(billed),
                "paid": _cents(np.where(days > 25, 0, billed)), "overdue_days": days, "cut_off": days > 40,
            }))  # fmt: skip
        return found

    def import_export(self) -> list[Facts]:
        who, month = self._panel(np.isin(self.people.sector, (0, 1, 3)) & (self.people.size > 0.5))
        value = 0.3 * np.exp(self._sales[who, month] + self._noise(who, 0.4))
        seen = self.people.visible[who, month]
        grade = np.array(["dishonest", "registered", "advanced"])[np.digitize(seen, (-2, 1.3))]
        return [self._facts("import_export", "customs", who, self._month_end[month], {
            "export_value": _cents(value), "import_value": _cents(0.4 * value * self.rng.random(len(who))),
            "declarations": 1 + self.rng.poisson(3, len(who)), "aeo_grade": grade,
            "violation": self._odds(-5.0 - 0.5 * seen),
        })]  # fmt: skip

    def credit(self, who: np.ndarray, source: str, limit: np.ndarray) -> Facts:
        """What one lender reports monthly of its own borrowers; stays with the lender. `limit` by borrower, CNY."""
        holder, month = np.nonzero(self.alive[who])
        health = self.people.account[who[holder], month]
        overdue = self._odds(-3.2 - 1.1 * health)
        days = np.where(overdue, 1 + self.rng.geometric(0.06, len(holder)), 0)
        used = 1 / (1 + np.exp(-(0.2 - 0.8 * health + self._noise(holder, 0.5))))
        bucket = np.array(["normal", "special_mention", "substandard", "doubtful"])[np.digitize(days, (1, 60, 90))]
        balance = limit[holder] * used
        assets = limit[holder] * (4 + self.rng.random(len(holder)))
        return self._facts("credit", source, who[holder], self._month_end[month], {
            "account_ref": np.char.add(f"{source}-", who[holder].astype(str)), "balance": _cents(balance),
            "credit_limit": _cents(limit[holder]), "overdue_days": days,
            "overdue_amount": _cents(np.where(overdue, 0.1 * balance, 0)), "classification": bucket,
            "guarantee_balance": _cents(0.2 * balance), "total_assets": _cents(assets),
            "total_liabilities": _cents(assets * np.clip(0.5 - 0.12 * health + self._noise(holder, 0.1), 0.05, 0.95)),
        })  # fmt: skip

    # ---- events --------------------------------------------------------------------------------------------------

    def registration(self) -> list[Facts]:
        people = self.people
        every = np.arange(len(people))
        capital = np.round(np.exp(13.0 + 0.9 * people.size + self._noise(every, 0.4)), -4)
        told: Items = {
            "established_on": people.established, "enterprise_type": people.kind,
            "industry": np.array([one[0] for one in SECTORS])[people.sector], "scale": people.scale,
            "district": people.district, "registered_capital": _cents(capital),
            "paid_in_capital": _cents(capital * np.clip(0.5 + 0.15 * people.visible[:, 0], 0.05, 1)),
            "status": _constant("active", every),
        }  # fmt: skip
        first = self._facts("registration", "market_regulation", every, people.established,
                            {"change_kind": _constant("establish", every), **told},
                            extra={"registration_number": people.number, "enterprise_name": people.name})  # fmt: skip
        who, day = self._happens(0.006, 0.25)
        kinds = np.array(["address", "capital", "scope", "legal_representative", "shareholder"])
        later = {name: values[who] for name, values in told.items() if name != "status"}
        changed = self._facts("registration", "market_regulation", who, day, {
            "change_kind": self.rng.choice(kinds, len(who), p=[0.3, 0.15, 0.25, 0.15, 0.15]), **later,
            "status": np.where(self._odds(-5.0 - 1.2 * self._health(who, day)), "suspended", "active"),
        })  # fmt: skip
        return [first, changed]

    def key_persons(self) -> list[Facts]:
        people = self.people
        every = np.arange(len(people))
        found = []
        for number, role in enumerate(("legal_representative", "manager", "shareholder")):
            who = every if number == 0 else every[~people.trader]
            moved = self._odds(-1.9 - 0.3 * people.visible[who, 0])
            left = np.where(moved, people.established[who] + (END - people.established[who]) * 0.9, _NEVER)
            extra: Items = {"share_ratio": np.round(0.2 + 0.8 * self.rng.random(len(who)), 4)} if number == 2 else {}
            found.append(self._facts("key_persons", "market_regulation", who, people.established[who], {
                "role": _constant(role, who), "person_ref": _references(role, who),
                "appointed_on": people.established[who], "left_on": left,
                "defaulter": self._odds(-4.4 - 0.9 * people.visible[who].mean(axis=1)),
                "linked_enterprises": self.rng.poisson(1.5, len(who)),
                "linked_abnormal": self.rng.poisson(np.exp(-2.0 - 0.5 * people.visible[who].mean(axis=1))), **extra,
            }, later="left_on"))  # fmt: skip
        return found

    def judicial(self) -> list[Facts]:
        found = []
        for kind, rate, slope in (
            ("lawsuit", 0.008, 0.5),
            ("execution", 0.0035, 1.0),
            ("consumption_limit", 0.0010, 1.2),
            ("judgment_defaulter", 0.0008, 1.3),
            ("bankruptcy", 0.0001, 1.6),
        ):
            who, day = self._happens(rate, slope)
            amount = np.exp(11.5 + self.people.size[who] + self._noise(who, 1.0))
            found.append(self._facts("judicial", "courts", who, day, {
                "case_kind": _constant(kind, who), "amount": _cents(amount),
                "paid_amount": _cents(amount * self.rng.random(len(who)) ** 2),
                "closed_on": self._closes(day, 500), "court": np.char.add("模拟法院", self.people.district[who]),
            }, later="closed_on"))  # fmt: skip
        return found

    def administrative(self) -> list[Facts]:
        who, day = self._happens(0.006, 0.6)
        fine = np.exp(8.5 + self._noise(who, 1.0))
        penalties = self._facts("administrative", "reform_commission", who, day, {
            "act_kind": _constant("penalty", who), "fine_amount": _cents(fine), "serious": fine > 20_000,
            "penalty_kind": self.rng.choice(["warning", "fine", "confiscation", "suspension"], len(who),
                                            p=[0.35, 0.5, 0.1, 0.05]),
        })  # fmt: skip
        who, day = self._happens(0.008, -0.1)
        licences = self._facts("administrative", "reform_commission", who, day, {
            "act_kind": _constant("licence", who), "valid_to": day + np.timedelta64(3 * 365, "D")})  # fmt: skip
        who, day = self._happens(0.001, -0.6)
        rewards = self._facts("administrative", "reform_commission", who, day, {"act_kind": _constant("reward", who)})
        return [penalties, licences, rewards]

    def operation(self) -> list[Facts]:
        found = []
        for kind, rate, slope in (("abnormal", 0.003, 1.0), ("serious", 0.0003, 1.3), ("equity_pledge", 0.002, 0.4),
                                  ("equity_freeze", 0.0008, 1.1), ("chattel_mortgage", 0.002, 0.2),
                                  ("spot_check", 0.010, 0.0), ("annual_report", 0.070, -0.1)):  # fmt: skip
            who, day = self._happens(rate, slope)
            items: Items = {"record_kind": _constant(kind, who)}
            if kind in ("equity_pledge", "equity_freeze"):
                items["share_ratio"] = np.round(self.rng.random(len(who)), 4)
            if kind in ("equity_pledge", "chattel_mortgage"):
                items["amount"] = _cents(np.exp(13 + self.people.size[who]))
            if kind == "spot_check":
                items["passed"] = ~self._odds(-2.0 - 0.7 * self._health(who, day))
            ends = kind not in ("spot_check", "annual_report")
            if ends:
                items["ended_on"] = self._closes(day, 500)
            found.append(self._facts("operation", "market_regulation", who, day, items,
                                     later="ended_on" if ends else ""))  # fmt: skip
        return found

    def environment(self) -> list[Facts]:
        made = np.isin(self.people.sector, (0, 1, 2))
        who, day = self._happens(0.03, 0.0, made)
        seen = self._health(who, day) + self._noise(who, 1.0)
        grade = np.array(["black", "red", "yellow", "blue", "green"])[np.digitize(seen, (-2.6, -1.9, -1.0, 0.8))]
        ratings = self._facts(
            "environment", "ecology", who, day, {"record_kind": _constant("rating", who), "grade": grade}
        )
        who, day = self._happens(0.05, 0.0, made)
        exceeded = self._odds(-2.6 - 0.6 * self._health(who, day))
        checked = {"record_kind": _constant("monitoring", who), "exceeded": exceeded}
        checks = self._facts("environment", "ecology", who, day, checked)
        who, day = self._happens(0.002, 0.7, made)
        fined = {"record_kind": _constant("penalty", who), "fine_amount": _cents(np.exp(9.5 + self._noise(who, 0.8)))}
        fines = self._facts("environment", "ecology", who, day, fined)
        return [ratings, checks, fines]

    def qualifications(self) -> list[Facts]:
        who, day = self._happens(0.004, -0.2, np.isin(self.people.sector, (1, 2, 7)))
        return [self._facts("qualifications", "sector_regulators", who, day, {
            "qualification": self.rng.choice(["模拟施工资质", "模拟安防资质", "模拟运维资质"], len(who)),
            "level": 1 + self.rng.integers(0, 3, len(who)), "valid_to": day + np.timedelta64(5 * 365, "D"),
            "revoked": self._odds(-4.0 - 0.8 * self._health(who, day)),
        })]  # fmt: skip

    def intellectual_property(self) -> list[Facts]:
        who, day = self._happens(0.012, -0.3, np.isin(self.people.sector, (1, 7)))
        pledged = self._odds(np.full(len(who), -3.0))
        return [self._facts("intellectual_property", "ip_office", who, day, {
            "right_kind": self.rng.choice(["invention", "utility_model", "design", "trademark", "software"], len(who)),
            "expires_on": day + np.timedelta64(10 * 365, "D"), "pledged": pledged,
            "pledge_amount": _cents(np.where(pledged, np.exp(12 + self._noise(who, 0.7)), 0)),
            "transferred": self._odds(np.full(len(who), -4.0)),
        })]  # fmt: skip

    def research(self) -> list[Facts]:
        who, day = self._happens(0.006, -0.4, np.isin(self.people.sector, (1, 7)))
        return [self._facts("research", "science", who, day, {
            "record_kind": self.rng.choice(["hi_tech", "sme_tech", "project", "subsidy", "contract"], len(who)),
            "level": self.rng.choice(["national", "provincial", "city"], len(who), p=[0.1, 0.3, 0.6]),
            "amount": _cents(np.exp(11 + self._noise(who, 0.9))), "valid_to": day + np.timedelta64(3 * 365, "D"),
        })]  # fmt: skip

    def agriculture(self) -> list[Facts]:
        who, day = self._happens(0.03, -0.1, self.people.sector == 6)
        return [self._facts("agriculture", "agriculture", who, day, {
            "entity_kind": self.rng.choice(["cooperative", "family_farm", "leading"], len(who), p=[0.5, 0.4, 0.1]),
            "demo_grade": self.rng.choice(["national", "provincial", "city", "county"], len(who),
                                          p=[0.05, 0.2, 0.3, 0.45]),
            "land_area": _cents(np.exp(4 + self.people.size[who])), "insured": self._odds(np.full(len(who), 0.5)),
            "subsidy": _cents(np.exp(9 + self._noise(who, 0.6))),
        })]  # fmt: skip

    def real_estate(self) -> list[Facts]:
        who, day = self._happens(0.004, -0.2, self.people.size > 0)
        mortgaged = self._odds(np.full(len(who), -0.2))
        return [self._facts("real_estate", "natural_resources", who, day, {
            "property_kind": self.rng.choice(["land", "plant", "office", "shop", "housing"], len(who)),
            "area": _cents(np.exp(6 + self._noise(who, 0.8))), "mortgaged": mortgaged,
            "mortgage_amount": _cents(np.where(mortgaged, np.exp(14 + self.people.size[who]), 0)),
            "seized": self._odds(-4.5 - 1.0 * self._health(who, day)),
        })]  # fmt: skip

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _facts(self, category: str, source: str, who: np.ndarray, day: np.ndarray, items: Mapping[str, np.ndarray],
               later: str = "", extra: Items | None = None) -> Facts:  # fmt: skip
        return Facts(category, source, who, day.astype("datetime64[D]"), dict(items), later, extra or {})

    def _panel(self, has: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Enterprise and month of everyone concerned, in every month of its life."""
        who, month = np.nonzero(self.alive & has[:, None])
        return who, month

    def _happens(self, rate: float, slope: float, has: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Enterprise and day of events: `rate` a month at average health, e^slope times as many one unit below it."""
        often = rate * np.exp(-slope * self.people.visible) * self.alive
        if has is not None:
            often = often * has[:, None]
        who, month = np.nonzero(self.rng.random(often.shape) < often)
        day = (FIRST + month).astype("datetime64[D]") + self.rng.integers(0, 28, len(who))
        return who, np.maximum(day, self.people.established[who].astype("datetime64[D]"))

    def _health(self, who: np.ndarray, day: np.ndarray) -> np.ndarray:
        return self.people.visible[who, (day.astype("datetime64[M]") - FIRST).astype(int)]

    def _closes(self, day: np.ndarray, within: int) -> np.ndarray:
        """The day on which something ends, after `within` days at most; NaT where that lies ahead."""
        end = day + self.rng.integers(30, within, len(day))
        return np.where(end <= END, end, _NEVER)

    def _odds(self, logit: np.ndarray) -> np.ndarray:
        return self.rng.random(len(logit)) < 1 / (1 + np.exp(-logit))

    def _noise(self, like: np.ndarray, spread: float) -> np.ndarray:
        return spread * self.rng.normal(size=len(like))


def _constant(text: str, like: np.ndarray) -> np.ndarray:
    return np.full(len(like), text)


def _cents(values: np.ndarray) -> np.ndarray:
    return np.round(values, 2)


def _references(role: str, who: np.ndarray) -> np.ndarray:
    """Pseudonyms of persons who do not exist."""
    return np.char.add(f"SIM-{role[:2].upper()}-", np.char.zfill(who.astype(str), 7))
