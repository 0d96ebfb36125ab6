"""One student, its teacher and its control, from the first question to the report. Imports torch: inside functions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from core.bundle import ModelBundle
from core.data import Floats, Split
from core.distillation import DistillationReport, SeedOutcome
from core.errors import BadInput, Unavailable
from core.packed import Packed
from core.progress import Note, Steps
from optimizers.teaching.guidance import LabelsAlone, Teaching, guide
from optimizers.teaching.hints import Hints, hints, in_words
from optimizers.teaching.lessons import Part, kept, labelled, logits_of, outcome, worth_showing
from optimizers.teaching.losses import Objective
from optimizers.teaching.students import built, narrower
from optimizers.teaching.teachers import Teacher, another_model, answers, ensemble, network_teacher, parameters_in
from optimizers.technique import Context
from optimizers.training.loop import train

if TYPE_CHECKING:
    from optimizers.distillation import Distillation


@dataclass(eq=False)
class _Lessons:
    """What came of all trainings with the teacher, the one that ships first."""

    networks: list[nn.Module] = field(default_factory=list)
    logits: list[Floats] = field(default_factory=list)
    """float32 [test images, classes] of each."""
    outcomes: list[SeedOutcome] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class School:
    """A student and its teacher as the settings ask for them."""

    settings: Distillation
    bundle: ModelBundle
    context: Context

    def teach(self) -> Steps[tuple[nn.Module, DistillationReport | None]]:
        """The student that ships, and what it learned; no report where there is no teacher.

        Raises `BadInput` where labels should count and there are none, and what building the student and reaching the
        teacher raise.
        """
        if self.settings.alpha < 1 and not self._has_labels:
            raise BadInput(
                f"Alpha {self.settings.alpha:g} with training images of which none has a label",
                expected="alpha 1, which learns from the teacher alone",
                action="Set alpha to 1",
            )
        student = self._student(self.context)
        yield self._sizes(student)
        if not self.settings.is_taught:
            return (yield from self._train(student, LabelsAlone(), self.context)), None
        test = labelled(self.bundle.data.test)
        with self._teacher() as teacher:
            doing = "asking the teacher about the test images"
            known = yield from answers(teacher, test, self.bundle, self.context, views=(0,), doing=doing)
            guidance = yield from self._guidance(teacher)
        lessons = yield from self._lessons(student, teacher, guidance, test)
        return lessons.networks[0], self._report(teacher, lessons, known[0].cpu().numpy())

    @property
    def _has_labels(self) -> bool:
        return bool((self.bundle.data.train.targets >= 0).any())

    @property
    def _has_control(self) -> bool:
        return self.settings.control_seeds > 0 and self._has_labels

    def _student(self, context: Context) -> nn.Module:
        """As it is before it learns, drawn by the context's seed."""
        choice = self.settings.student
        if choice == "itself":
            return self.bundle.module
        if choice == "width":
            return narrower(self.bundle, context, width=self.settings.width)
        key = f"torchvision:{self.settings.architecture}" if choice == "named" else choice
        return built(key, self.bundle, context, batch_size=self.settings.batch_size)

    @property
    def _original(self) -> nn.Module:
        """The network that teaches where no variants do. Raises `Unavailable` where only what became of it is known."""
        if self.settings.student != "itself" or not self.bundle.applied:
            return self.bundle.module
        if self.context.original is None:
            raise Unavailable(
                "The model as loaded, as the teacher of what was made of it",
                expected="a run that begins with a model",
                action="Choose finished variants as teachers",
            )
        return self.context.original().module

    @cached_property
    def _other(self) -> tuple[str, ModelBundle]:
        """Title and bundle of the other model that teaches. Raises `Unavailable` where no other is known."""
        if self.context.others is None:
            raise Unavailable(
                "Another model as the teacher", expected="a run that knows all models", action="Choose no other model"
            )
        return self.context.others(self.settings.teacher_model)

    def _teacher(self) -> AbstractContextManager[Teacher]:
        if self.settings.teacher_model:
            return nullcontext(another_model(*self._other, self.bundle, self.context))
        if self.settings.teachers:
            return ensemble(self.settings.teachers, self.bundle, self.context)
        return nullcontext(network_teacher(self._original, self.context, title="The network as loaded"))

    def _sizes(self, student: nn.Module) -> Note:
        theirs, ours = self._teacher_parameters, _parameters(student)
        if theirs is None:
            return Note(text=f"The student has {ours:,} parameters.")
        is_odd = ours >= theirs and self.settings.student != "itself"
        return Note(text=f"The teacher has {theirs:,} parameters, the student {ours:,}.", warning=is_odd)

    @property
    def _teacher_parameters(self) -> int | None:
        if self.settings.teacher_model:
            return parameters_in(self._other[1].network)
        return None if self.settings.teachers else _parameters(self._original)

    @property
    def _objective(self) -> Objective:
        return Objective(self.settings.alpha, self.settings.temperature, self.settings.loss, self.settings.beta)

    def _guidance(self, teacher: Teacher) -> Steps[Teaching | None]:
        """What all students are told; None where each is given hints of its own."""
        if self.settings.hints != "none":
            return None
        augmentation = self.settings.augmentation
        return (yield from guide(teacher, self.bundle, self.context, self._objective, augmentation=augmentation))

    def _told(
        self, student: nn.Module, teacher: Teacher, guidance: Teaching | None, context: Context
    ) -> AbstractContextManager[Teaching]:
        if guidance is not None:
            return nullcontext(guidance)
        kind, weight = self.settings.hints, self.settings.hint_weight
        return hints(student, teacher, self.bundle, context, self._objective, kind=kind, weight=weight)

    def _lessons(self, student: nn.Module, teacher: Teacher, guidance: Teaching | None, test: Split) -> Steps[_Lessons]:
        """Every training, seed by seed: with the teacher and, where there is a control, without."""
        count = self.settings.control_seeds if self._has_control else 1
        if self.settings.control_seeds and not self._has_control:
            yield Note(text="No control: without labels there is nothing that the student could learn alone.")
        lessons = _Lessons()
        for number in range(count):
            context = replace(self.context, seed=self.context.seed + number)
            start = self._student(context) if number else student
            with self._told(start, teacher, guidance, context) as told:
                if isinstance(told, Hints) and number == 0:
                    yield Note(text=f"Hints: {in_words(told.pairs)}.")
                learning = self._train(start, told, context)
                taught = yield from self._part(number, count, "student").of(learning)
            lessons.networks.append(taught)
            lessons.logits.append(logits_of(taught, test, self.bundle, context))
            if self._has_control:
                learning = self._train(start, LabelsAlone(), context)
                alone = yield from self._part(number, count, "alone").of(learning)
                alone_logits = logits_of(alone, test, self.bundle, context)
                lessons.outcomes.append(outcome(context.seed, lessons.logits[-1], alone_logits, test))
                yield Note(text=_counts(lessons.outcomes[-1], len(test)))
        return lessons

    def _part(self, number: int, count: int, who: str) -> Part:
        """Which of all trainings this is; only the first seed's curves are drawn."""
        title = f"{who}, seed {number + 1} of {count}" if count > 1 else who
        if not self._has_control:
            return Part(0, 1, title, who)
        return Part(2 * number + (who == "alone"), 2 * count, title, None if number else who)

    def _train(self, student: nn.Module, teaching: Teaching, context: Context) -> Steps[nn.Module]:
        settings = self.settings
        plan = settings.plan(settings.epochs, settings.learning_rate, keep_zeros=settings.student == "itself")
        return (yield from train(student, self.bundle, context, plan, guidance=teaching))

    def _report(self, teacher: Teacher, lessons: _Lessons, known: Floats) -> DistillationReport:
        """Of the student that ships; `known` are the teacher's logits for the test images."""
        ours, settings = lessons.logits[0], self.settings
        rows = worth_showing(known, ours)
        return DistillationReport(
            teacher=teacher.title,
            student=settings.student_title,
            loss=settings.loss_in_words,
            temperature=settings.temperature,
            alpha=settings.alpha,
            teacher_parameters=self._teacher_parameters,
            student_parameters=_parameters(lessons.networks[0]),
            test_images=len(known),
            teacher_classes=Packed.of(known.argmax(1), "<u2"),
            student_classes=Packed.of(ours.argmax(1), "<u2"),
            shown=Packed.of(rows, "<u4"),
            teacher_logits=kept(known[rows]),
            student_logits=kept(ours[rows]),
            labels_used=self._has_labels and (settings.alpha < 1 or settings.loss == "dkd"),
            seeds=tuple(lessons.outcomes),
        )


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _counts(found: SeedOutcome, images: int) -> str:
    return (
        f"Seed {found.seed}: of {images:,} test images the student gets {found.taught_correct:,} right with the "
        f"teacher and {found.alone_correct:,} alone."
    )
