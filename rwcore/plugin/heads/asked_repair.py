"""Whether a model can be asked about self-repair at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rwcore.errors import ModelError
from rwcore.plugin.subjects import Subject

if TYPE_CHECKING:
    from rwcore.plugin.heads.repair import HeadRepair


def repair_of(subject: Subject) -> HeadRepair:
    """The self-repair of a model; a subject whose heads cannot be read is not asked: its test is skipped.

    Args:
        subject: What a claim is asked of.
    """
    from rwcore.plugin.model_subject import ModelSubject

    assert isinstance(subject, ModelSubject)
    try:
        repair = subject.heads.repair
        _ = repair.study
    except ModelError as error:
        pytest.skip(error.what.splitlines()[0])
    return repair
