"""Who lives in the simulated province: enterprises by sector, size, region and age, and their hidden health by month.

Owns the latent state from which everything else is drawn. Health has two faces: `account`, what a bank sees, and
`public`, what public records see in part. The outcome of a loan depends on both and on chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features import uscc
from features.ingest.identity import registration_check

#: First and last month of the records.
FIRST, LAST = np.datetime64("2020-07", "M"), np.datetime64("2023-12", "M")
MONTHS = int((LAST - FIRST).astype(int)) + 1
#: Industry (GB/T 4754 division), its share, its risk on the log-odds, its seasonal peak (month, strength).
SECTORS: tuple[tuple[str, str, float, float, int, float], ...] = (
    ("C13", "食品加工", 0.14, 0.0, 10, 0.15),
    ("C35", "装备制造", 0.16, -0.1, 11, 0.08),
    ("E50", "建筑装饰", 0.10, 0.3, 9, 0.25),
    ("F51", "商贸", 0.22, 0.05, 12, 0.20),
    ("G54", "运输", 0.09, 0.1, 11, 0.10),
    ("H62", "餐饮", 0.10, 0.45, 2, 0.30),
    ("A01", "种植", 0.08, -0.15, 9, 0.60),
    ("I65", "软件", 0.11, -0.35, 12, 0.10),
)
#: Simulated divisions: 4499 is not assigned in GB/T 2260.
DISTRICTS = ("449901", "449902", "449903", "449904", "449905", "449906")
_DISTRICT_SHARES = (0.34, 0.22, 0.16, 0.12, 0.09, 0.07)
SCALES = ("micro", "small", "medium", "large")
TYPES = ("limited", "joint_stock", "sole", "partnership", "trader", "cooperative", "foreign")
#: How far the records follow the public face.
_SHOWN = 0.75
_TYPE_SHARES = (0.55, 0.05, 0.06, 0.04, 0.22, 0.05, 0.03)


@dataclass(frozen=True)
class Enterprises:
    """Arrays by enterprise; `account`, `public`, `visible` by enterprise and month, standard normal in each month.

    `visible` is what of the public face shows in records: the rest of it no source sees.
    """

    uscc: np.ndarray
    name: np.ndarray
    number: np.ndarray
    sector: np.ndarray
    district: np.ndarray
    kind: np.ndarray
    size: np.ndarray
    scale: np.ndarray
    established: np.ndarray
    account: np.ndarray
    public: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.uscc)

    @property
    def trader(self) -> np.ndarray:
        """Sole traders and one-person businesses: a person stands behind them (PIPL asks that person too)."""
        return np.isin(self.kind, ("trader", "sole"))

    @property
    def born(self) -> np.ndarray:
        """The month of its establishment, counted from `FIRST`; negative before."""
        return (self.established.astype("datetime64[M]") - FIRST).astype(int)

    def risk(self, month: np.ndarray) -> np.ndarray:
        """Log-odds that a loan decided in that month goes bad within twelve months."""
        every = np.arange(len(self))
        account, public = self.account[every, month], self.public[every, month]
        age = np.maximum(month - self.born, 1)
        return (
            -3.0
            - 1.0 * account
            - 1.0 * public
            - 0.15 * self.size
            - 0.20 * np.log(age / 80)
            + 0.30 * np.maximum(-account, 0) * np.maximum(-public, 0)
            + np.array([sector[3] for sector in SECTORS])[self.sector]
        )


def settle(rng: np.random.Generator, count: int) -> Enterprises:
    """`count` enterprises that cannot exist."""
    sector = rng.choice(len(SECTORS), count, p=[one[2] for one in SECTORS])
    size = rng.normal(size=count)
    last = (LAST - np.timedelta64(30, "M")).astype("datetime64[D]")
    established = last - (rng.gamma(2.0, 1400.0, count) + 30).astype("timedelta64[D]")
    account_face = rng.normal(size=count)
    public_face = 0.25 * account_face + np.sqrt(1 - 0.25**2) * rng.normal(size=count)
    numbers = [f"449901{one:08d}" for one in rng.choice(10**8, count, replace=False)]
    names = [f"模拟{'甲乙丙丁戊己庚辛'[at]}字{place:06d}号{SECTORS[at][1]}企业" for place, at in enumerate(sector)]
    public = _path(rng, public_face)
    beside = _path(rng, rng.normal(size=count))
    return Enterprises(
        uscc=np.array(uscc.simulate(rng, count)),
        name=np.array(names),
        number=np.array([one + registration_check(one) for one in numbers]),
        sector=sector,
        district=rng.choice(DISTRICTS, count, p=_DISTRICT_SHARES),
        kind=rng.choice(TYPES, count, p=_TYPE_SHARES),
        size=size,
        scale=np.array(SCALES)[np.digitize(size, (0.2, 1.2, 2.2))],
        established=established,
        account=_path(rng, account_face),
        public=public,
        visible=_SHOWN * public + np.sqrt(1 - _SHOWN**2) * beside,
    )


def _path(rng: np.random.Generator, face: np.ndarray) -> np.ndarray:
    """A lasting part and a first-order autoregression around it; variance one in every month."""
    lasting, keep = 0.8, 0.92
    drift = rng.normal(size=len(face))
    months = []
    for _ in range(MONTHS):
        months.append(np.sqrt(lasting) * face + np.sqrt(1 - lasting) * drift)
        drift = keep * drift + np.sqrt(1 - keep**2) * rng.normal(size=len(face))
    return np.stack(months, axis=1)
