"""What every framework gives because its model is ours: typed answers, recordings, budgets."""

from __future__ import annotations

import contextlib
import json
import tempfile
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

from tframex_nb.agents import Agent
from tframex_nb.errors import BudgetExceeded, CassetteMiss
from tframex_nb.messages import AnswerRejected, TextDelta, ToolResult, Usage
from tframex_nb.models.budget import Budget
from tframex_nb.models.cassette import shared_cassettes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tframex_nb.runs import Run
    from tframex_nb.testing.contract import Bench
    from tframex_nb.testing.witness import Call

__all__ = ["PromisesContract"]

ROOM = 400  # tokens beside a prompt: several calls of demo:loop, a small part of demo:long
STEPS = 60


class PromisesContract:
    """The part of the contract that holds for every adapter, whatever it is capable of."""

    @abstractmethod
    def check(self, test: Callable[[Bench], Awaitable[None]]) -> None:
        """Run one test on a loop of its own, and close everything after it."""

    def test_an_answer_of_a_type_is_an_instance_and_asked_for_again_until_it_is(self) -> None:
        """The first answer is refused, the model is told why, the second is the run's output."""
        from pydantic import AfterValidator, BaseModel

        class City(BaseModel):
            city: str
            population: int

        seen: list[City] = []

        def not_the_first(found: City) -> City:
            seen.append(found)
            if len(seen) == 1:
                raise ValueError("Paris-was-not-meant")
            return found

        async def test(bench: Bench) -> None:
            model = bench.model()
            schema = Annotated[City, AfterValidator(not_the_first)]
            agent = Agent("cities", model)
            run = await bench.works(agent, "Tell me about Paris", schema=schema, tries=2)
            assert isinstance(run.output, City), f"the output is {run.output!r}"
            assert run.output is seen[1]
            rejected = [e for e in run.events if isinstance(e, AnswerRejected)]
            assert [e.again for e in rejected] == [True], "the first answer was not refused once"
            assert "Paris-was-not-meant" in json.dumps(model.calls[-1].messages)
            roles = [message.role for message in agent.conversation.messages()]
            assert roles == ["user", "assistant"], "the refused answer is in the conversation"

        self.check(test)

    def test_a_recorded_run_is_replayed_in_the_same_pieces_without_its_model(self) -> None:
        """The same text, tool results and tokens; what was never asked is a CassetteMiss."""

        def weather(city: str) -> str:
            """Tell the weather.

            Args:
                city: a city
            """
            return f"{city}: rain"

        async def test(bench: Bench) -> None:
            tools = [weather] if bench.has("tools") else []

            async def ask(prompt: str) -> tuple[Run, int]:
                model = bench.model()
                run = await bench.run(Agent("guide", model, tools=tools), prompt)
                return run, len(model.calls)

            with _cassettes() as use:
                use("record")
                recorded, calls = await ask("What is the weather in Oslo?")
                assert recorded.error is None, f"recording failed: {recorded.error!r}"
                assert calls
                for _ in range(2):
                    use("replay")
                    replayed, calls = await ask("What is the weather in Oslo?")
                    assert not calls, "the model was asked in replay"
                    assert _seen(replayed) == _seen(recorded)
                    assert "replayed" in replayed.notes
                missed, calls = await ask("And in Lima?")
                assert type(missed.error) is CassetteMiss, f"it became {missed.error!r}"
                assert not calls, "what was not recorded was asked in replay"

        self.check(test)

    def test_a_budget_is_passed_by_one_request_at_most(self) -> None:
        """Step by step: what was spent before the last request is within the cap."""
        looks: list[str] = []

        def look(place: str = "here") -> str:
            """Look around.

            Args:
                place: where
            """
            looks.append(place)
            return f"nothing at {place} {len(looks)}"

        async def test(bench: Bench) -> None:
            bench.needs("tools")
            cap = await _cap(bench, [look])
            model = bench.model("demo:loop")
            agent = Agent("looper", model, tools=[look], max_steps=STEPS)
            run = await bench.run(agent, "look", budget=Budget(max_tokens_total=cap))
            assert type(run.error) is BudgetExceeded, f"it became {run.error!r}"
            assert run.status == "failed"
            spent = [_tokens(call) for call in model.calls]
            assert len(spent) > 1, "the first call was refused"
            assert sum(spent[:-1]) <= cap, f"went on after {cap}: {spent}"

        self.check(test)

    def test_an_answer_is_stopped_at_its_budget_and_kept(self) -> None:
        """In the middle of a long answer: the stream is closed, the text so far is the run's."""

        async def test(bench: Bench) -> None:
            cap = await _cap(bench, [])
            model = bench.model("demo:long")
            run = await bench.run(Agent("a", model), "hi", budget=Budget(max_tokens_total=cap))
            assert type(run.error) is BudgetExceeded, f"it became {run.error!r}"
            assert len(model.calls) == 1, f"the model was asked {len(model.calls)} times"
            assert model.calls[0].answer is None, "the answer was not stopped"
            said = "".join(e.text for e in model.calls[0].events if isinstance(e, TextDelta))
            if bench.has("streaming"):
                assert run.text, "the partial answer is gone"
            if said:  # it is no argument of a tool that takes answers
                assert run.text.strip() in said

        self.check(test)


@contextlib.contextmanager
def _cassettes() -> Iterator[Callable[[str], None]]:
    """Give a function that chooses a mode, with a cassette of this test's own."""
    cassettes = shared_cassettes()
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield lambda mode: cassettes.use(mode, folder=folder, name="contract")
        finally:
            cassettes.use(None)


def _seen(run: Run) -> tuple[object, ...]:
    """Return what people get of a run, but for its times."""
    pieces = [e.text for e in run.events if isinstance(e, TextDelta)]
    results = [(e.name, e.content, e.is_error) for e in run.events if isinstance(e, ToolResult)]
    return run.text, pieces, results, run.usage, run.finish_reason, run.status


async def _cap(bench: Bench, tools: list[Callable[..., object]]) -> int:
    """Return a cap that leaves room beside the prompt, which some frameworks make long."""
    model = bench.model()
    await bench.works(Agent("a", model, tools=tools), "hi")
    return 2 * _tokens(model.calls[0]) + ROOM


def _tokens(call: Call) -> int:
    return sum(event.total_tokens for event in call.events if isinstance(event, Usage))
