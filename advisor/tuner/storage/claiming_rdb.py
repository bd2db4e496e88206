"""Optuna's relational storage, with a claim that only one worker can win on every database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel  # the table has no public door
from optuna.trial import TrialState
from sqlalchemy import update
from sqlalchemy.orm import Session


class ClaimingStorage(RDBStorage):
    """Optuna reads a waiting trial's state under a row lock and then sets it; SQLite has no row locks.

    There two workers that share no other lock both read `waiting` and both run the trial. Here the state is
    compared and set in one statement, which every database does for one of them only.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Whether the state was set; as Optuna's BaseStorage says."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        claim = (
            update(TrialModel)
            .where(TrialModel.trial_id == trial_id, TrialModel.state == TrialState.WAITING)
            .values(state=state)
        )
        with Session(self.engine) as session, session.begin():
            if session.connection().execute(claim).rowcount == 1:
                trial = TrialModel.find_or_raise_by_id(trial_id, session)
                trial.datetime_start = datetime.now()  # Optuna's releases differ in how they store a time
                return True
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        return False
