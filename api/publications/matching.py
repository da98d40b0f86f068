"""Policy finds people: which published policies fit which enterprises, and pushing each to each once (R64).

One condition in SQL serves both directions, a new policy to all profiles and a new profile to all policies, so the two
cannot disagree. Owns no decision on what is published.
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array, insert

from api.applications.profiles import Profile
from api.consents.requests import inform
from api.db import Unit
from api.publications.repository import PolicyPush, Publication
from api.workdays import local_day


def _or_any(column: sa.ColumnElement[list[str]], wanted: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.or_(sa.func.cardinality(column) == 0, wanted)


def fits(today: date) -> sa.ColumnElement[bool]:
    """Whether a profile is one that a policy is meant for: region, industry, size, age in years, certifications."""
    region, industry = Profile.region, Profile.industry
    regions = array(
        [region, sa.func.left(region, 4).concat("00"), sa.func.left(region, 2).concat("0000")], type_=sa.Text
    )
    industries = array([sa.func.left(industry, length) for length in range(1, 6)], type_=sa.Text)
    age = sa.func.date_part("year", sa.func.age(sa.literal(today, sa.Date), Profile.established_on))
    return sa.and_(
        _or_any(Publication.regions, Publication.regions.overlap(regions)),
        _or_any(Publication.industries, Publication.industries.overlap(industries)),
        _or_any(Publication.sizes, Publication.sizes.any(Profile.size)),
        _or_any(Publication.certifications, Publication.certifications.overlap(Profile.certifications)),
        sa.or_(Publication.age_min.is_(None), age >= Publication.age_min),
        sa.or_(Publication.age_max.is_(None), age <= Publication.age_max),
    )


def _push(unit: Unit, only: sa.ColumnElement[bool]) -> int:
    found = (
        sa.select(Publication.id, Profile.enterprise, Publication.author, sa.literal(unit.now, sa.DateTime(True)))
        .join(Profile, fits(local_day(unit.now)))
        .where(Publication.kind == "policy", Publication.state == "published", only)
    )
    query = insert(PolicyPush).from_select(["publication", "enterprise", "author", "at"], found)
    new = unit.session.execute(
        query.on_conflict_do_nothing().returning(PolicyPush.publication, PolicyPush.enterprise)
    ).all()
    for row in new:
        inform(unit, row.enterprise, "policy", row.publication)
    return len(new)


def push_all(unit: Unit, row: Publication) -> int:
    """Pushes a policy to every enterprise that it fits and that has not had it. Returns to how many."""
    return _push(unit, Publication.id == row.id)


def push_to(unit: Unit, profile: Profile) -> int:
    """Pushes to an enterprise every published policy that fits it and that it has not had."""
    return _push(unit, Profile.enterprise == profile.enterprise)
