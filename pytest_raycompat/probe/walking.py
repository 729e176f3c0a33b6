"""Walks what a flow does, as far as the sources tell, and notes what is missing on the way.

A walk does what Python would: the first missing name raises, a handler that fits catches, a test whose result the
sources decide chooses a block. Of a test that they do not decide both blocks are walked, and what is missing there is
`unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pytest_raycompat.probe.calling import refused
from pytest_raycompat.probe.deciding import Decider
from pytest_raycompat.probe.facts import module_of
from pytest_raycompat.probe.findings import PROGRAM, Finding, Place
from pytest_raycompat.probe.obstacles import Obstacle, fitting
from pytest_raycompat.probe.outline import Function, Handler, If, Import, Lose, Outline, Raise, Return, Step, Touch, Try
from pytest_raycompat.probe.programs import INTERNAL, UNUSED
from pytest_raycompat.probe.resolving import Defined, InModule, Instance, Lost, Missing, Thing, Unknown, World
from pytest_raycompat.probe.scopes import ABSENT

_DEPTH = 60


class _Returned(Exception):
    pass


class _Abandoned(Exception):
    """A raise of which the sources do not say whether it is reached for a reason of ours."""


class Walk:
    """One flow, on one pair."""

    def __init__(self, world: World, settings: dict[str, str]) -> None:
        """Set up.

        Args:
            world: the pair.
            settings: environment variables that the flow sets.
        """
        self.world = world
        self.decider = Decider(world, settings)
        self.findings: list[Finding] = []
        self.unseen: dict[str, str] = {}
        """Chains that could not be followed to the end, and why."""
        self._module: list[Outline] = []
        self._guards: list[Place] = []
        """Tests that the sources do not decide, around what is walked."""
        self._reasons: list[tuple[range, Finding]] = []
        """What was caught or decided, and in which frames a raise is because of it."""
        self._done: dict[tuple[str, str, bool], Obstacle | None] = {}

    def program(self, outline: Outline) -> None:
        """Walk a flow."""
        try:
            with self._in(outline):
                self._block(outline.body)
        except Obstacle as obstacle:
            self.findings.append(obstacle.finding)
        except (_Returned, _Abandoned):
            pass

    @contextmanager
    def _in(self, outline: Outline) -> Iterator[None]:
        self._module.append(outline)
        try:
            yield
        finally:
            self._module.pop()

    def _block(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Touch():
                    self._touch(step)
                case Import():
                    self._import(step)
                case If():
                    self._if(step)
                case Try():
                    self._try(step)
                case Raise():
                    self._raise(step)
                case Return():
                    raise _Returned
                case Lose():
                    self._lose(step)

    def _place(self, line: int, text: str = "") -> Place:
        return Place(self._module[-1].path, line, text)

    def _own(self, package: str) -> bool:
        """Whether a package is that of the file that is walked: what is missing in itself is not our matter."""
        return self._module[-1].path.startswith(f"{package}/")

    def _fail(self, missing: Missing, line: int, exception: str | None = None, message: str | None = None) -> None:
        ours = self._module[-1].path.startswith(PROGRAM) and INTERNAL.match(missing.chain)
        finding = Finding(
            status="unknown" if ours else "breaks",
            missing=missing.chain,
            subject=missing.subject.label,
            package=missing.subject.package,
            exception=exception or missing.exception,
            message=message or missing.message,
            used=self._place(line),
        )
        raise Obstacle(finding, exception or missing.exception)

    def _import(self, step: Import) -> None:
        subject = self.world.subjects.get(step.module.partition(".")[0])
        if subject is None:
            if step.module.partition(".")[0] in ABSENT:
                self._absent(step)
            return
        own = self._own(subject.package)
        parts = step.module.split(".")
        for count in range(1, len(parts) + 1):
            module = ".".join(parts[:count])
            if not subject.has(module):
                if own or self._follows(module):
                    return
                message = f"No module named {module!r}"
                self._fail(Missing(step.module, "ModuleNotFoundError", message, subject), step.line)
            self._enter(subject.outline(module), "", module)
        if step.name is None:
            return
        chain = f"{step.module}.{step.name}"
        if subject.has(chain):
            self._enter(subject.outline(chain), "", chain)
            return
        thing = self.world.resolve(chain)
        if isinstance(thing, Missing) and not own:
            message = f"cannot import name {step.name!r} from {step.module!r}"
            self._fail(Missing(chain, "ImportError", message, thing.subject), step.line)
        self._note(chain, thing)

    def _absent(self, step: Import) -> None:
        name = step.module.partition(".")[0]
        message = f"No module named {name!r}"
        finding = Finding("breaks", step.module, name, name, "ModuleNotFoundError", message, self._place(step.line))
        raise Obstacle(finding, "ModuleNotFoundError")

    def _follows(self, module: str) -> bool:
        """Whether a module that is not a file may be there all the same: its parent makes names when asked."""
        parent, _, name = module.rpartition(".")
        return bool(parent) and isinstance(self.world.resolve(parent), Unknown) and bool(name)

    def _touch(self, step: Touch) -> None:
        if step.arguments is None and self._own(step.chain.partition(".")[0]) and "()" in step.chain:
            return
        thing = self.world.resolve(step.chain)
        match thing:
            case Lost(name=name):
                if step.arguments is not None or name != step.chain:
                    raise self.decider.causes[name]
                return
            case Missing():
                if not self._own(thing.subject.package):
                    self._fail(thing, step.line)
                return
            case Unknown():
                self._note(step.chain, thing)
                return
        if step.arguments is None:
            return
        wrong = refused(self.world, thing, step.arguments)
        if wrong is not None and not self._own(wrong.subject.package):
            self._fail(wrong, step.line)
        self._descend(thing)

    def _note(self, chain: str, thing: Thing) -> None:
        if isinstance(thing, Unknown) and not self._own(chain.partition(".")[0]):
            self.unseen.setdefault(chain, thing.why)

    def _descend(self, thing: Thing) -> None:
        """Walk the body of what is called, where it has to do with the other package."""
        if isinstance(thing, InModule | Instance) or not isinstance(thing, Defined):
            return
        name = f"{thing.name}.__init__" if thing.definition.kind == "class" else thing.name
        outline = thing.subject.outline(thing.module)
        if outline is not None and name in outline.functions:
            self._enter(outline, name, thing.module)

    def _enter(self, outline: Outline | None, name: str, module: str) -> None:
        """Walk a module's body, or a function's, once; what it raised the first time it raises again."""
        if outline is None or len(self._module) > _DEPTH:
            return
        key = (module, name, bool(self._guards))
        if key in self._done:
            known = self._done[key]
            if known is not None:
                raise known
            return
        self._done[key] = None  # what calls itself is not walked twice
        function = outline.functions[name] if name else Function(0, outline.body)
        try:
            with self._in(outline):
                self._block(function.body)
        except Obstacle as obstacle:
            self._done[key] = obstacle
            raise
        except (_Returned, _Abandoned):
            pass

    def _if(self, step: If) -> None:
        decision = self.decider.decide(step.test)
        if decision is not None:
            with self._because(decision.cause, step):
                self._block(step.body if decision.value else step.otherwise)
            return
        blocked = [self._perhaps(block, step) for block in (step.body, step.otherwise)]
        if step.otherwise and all(isinstance(one, Obstacle) for one in blocked):
            for one in blocked:
                assert isinstance(one, Obstacle)
                self.findings.remove(self._under(step, one.finding))
            raise next(one for one in blocked if one is not None)

    @contextmanager
    def _because(self, cause: Finding | None, step: If) -> Iterator[None]:
        """Remember on what a decision rests that is about the pair, for a raise that follows."""
        if cause is None:
            yield
            return
        frame = len(self._module)
        self._reasons.append((range(frame, frame + 1), cause.at(self._place(step.line, step.text))))
        try:
            yield
        finally:
            self._reasons.pop()

    def _perhaps(self, block: tuple[Step, ...], step: If) -> Obstacle | None:
        if not block:
            return None
        self._guards.append(self._place(step.line, step.text))
        try:
            self._block(block)
        except Obstacle as obstacle:
            if obstacle.finding.package not in ABSENT:
                self.findings.append(self._under(step, obstacle.finding))
                return obstacle
        except (_Returned, _Abandoned):
            pass
        finally:
            self._guards.pop()
        return None

    def _under(self, step: If, finding: Finding) -> Finding:
        left_off = UNUSED.search(step.text) is not None
        return finding.guarded(self._place(step.line, step.text), "guarded" if left_off else "unknown")

    def _try(self, step: Try) -> None:
        try:
            self._block(step.body)
        except _Abandoned:
            pass  # one of the handlers may be meant for it
        except Obstacle as obstacle:
            handler = fitting(step.handlers, obstacle.exception)
            if handler is None:
                raise
            self._handle(handler, obstacle)
        else:
            self._block(step.otherwise)
        self._block(step.finally_)

    def _handle(self, handler: Handler, obstacle: Obstacle) -> None:
        frame = len(self._module)  # a handler may call a function that raises
        self._reasons.append((range(frame, frame + 2), obstacle.finding))
        try:
            self._block(handler.body)
        except Obstacle as further:  # what is missing first is the cause
            finding = obstacle.finding.then(further.finding)
            raise Obstacle(finding, further.exception) from further
        except _Returned:
            self._caught(handler, obstacle)
            raise
        finally:
            self._reasons.pop()
        self._caught(handler, obstacle)

    def _caught(self, handler: Handler, obstacle: Obstacle) -> None:
        if obstacle.finding.package in ABSENT:
            return
        types = ", ".join(handler.types) or "everything"
        self.findings.append(obstacle.finding.guarded(self._place(handler.line, f"except {types}"), "guarded"))

    def _raise(self, step: Raise) -> None:
        cause = self._reason()
        if cause is None:
            raise _Abandoned
        if not step.exception:
            raise Obstacle(cause, cause.exception)
        message = self.decider.filled(step.message)
        place = self._place(step.line)
        raise Obstacle(cause.raising(step.exception, message, place), step.exception)

    def _reason(self) -> Finding | None:
        if self._reasons and len(self._module) in self._reasons[-1][0]:
            return self._reasons[-1][1]
        return None

    def _lose(self, step: Lose) -> None:
        cause = self._reason()
        if cause is not None:
            chain = f"{module_of(self._module[-1].path)}.{step.name}"
            self.decider.causes[chain] = Obstacle(cause, "AttributeError")
            self.world.lost.add(chain)
