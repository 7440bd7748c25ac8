"""The statistical classifier: what a mail says, compared with what spam and honest mail said. Learned from examples, shipped trained."""

from __future__ import annotations

from collections.abc import Mapping

from mailguard.checks import features
from mailguard.checks.base import CheckContext
from mailguard.checks.model import Model, shipped
from mailguard.core.verdict import CheckResult, Classification, Symbol

CLASSIFIED_SPAM, CLASSIFIED_HAM, BASELINE = "CLASSIFIED_SPAM", "CLASSIFIED_HAM", "BASELINE"


class ClassifierCheck:
    """Reports how much a mail is like spam, as points, with the words that said so. `model`: by default the shipped one."""

    name = "classifier"
    needs: tuple[str, ...] = ()
    waits = False

    def __init__(self, model: Model | None = None) -> None:
        self._model = model or shipped()

    @property
    def model(self) -> Model:
        """What it classifies with."""
        return self._model

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        found = features.extract(context.message)
        logit = self._model.logit(found)
        points = self._model.calibration.points(logit)
        evidence = tuple(f'{word.place}: "{word.text}" {word.share:+.1f}' for word in self._model.words(found, logit))
        name, says = (
            (CLASSIFIED_SPAM, "it reads like spam") if points > 0 else (CLASSIFIED_HAM, "it reads like honest mail")
        )
        return CheckResult(
            self.name,
            symbols=(
                Symbol(name, points, says, evidence),
                Symbol(BASELINE, self._model.calibration.baseline, "what every mail begins with"),
            ),
            detail=f"logit {logit:.2f}, model {self._model.name}",
            classification=Classification(logit, self._model.name, found.packed),
        )
