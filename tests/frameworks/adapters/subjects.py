"""What users build with each framework, the way that the adapters' docstrings tell them to."""

from __future__ import annotations

SYSTEM = "You are built by hand."

# Per adapter: what the model says, turn by turn (a tuple is text in pieces, a list tool calls);
# the whole text of the run; the tool calls that the framework shows as its own.
TEAMS = {
    "langgraph": ([("A ", "draft. "), ("An ", "edit.")], "A draft. An edit.", []),
    "openai_agents": (
        [[("c1", "transfer_to_writer", "{}")], [("c2", "count", '{"text": "ab"}')], ("Two.",)],
        "Two.",
        ["transfer_to_writer"] * 2 + ["count"] * 2,
    ),
    "agent_framework": ([("A ", "draft. "), ("An ", "edit.")], "A draft. An edit.", []),
}


def _chat_openai(model):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=model.name, base_url=model.base_url, api_key=model.api_key, http_socket_options=()
    )


def langgraph_agent(model):
    from langchain.agents import create_agent

    return create_agent(_chat_openai(model), system_prompt=SYSTEM)


def langgraph_team(model):
    from langchain.agents import create_agent
    from langgraph.graph import START, MessagesState, StateGraph

    graph = StateGraph(MessagesState)
    graph.add_node("writer", create_agent(_chat_openai(model), name="writer"))
    graph.add_node("editor", create_agent(_chat_openai(model), name="editor"))
    graph.add_edge(START, "writer")
    graph.add_edge("writer", "editor")
    return graph  # compiled by whoever runs it


def langgraph_nested(model):
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    inner = create_agent(_chat_openai(model))

    @tool
    async def ask(input: str) -> str:  # noqa: A002 - the name that all the frameworks use here
        """Ask another agent."""
        done = await inner.ainvoke({"messages": [("user", input)]})
        return done["messages"][-1].text

    return create_agent(_chat_openai(model), tools=[ask])


def langgraph_asking(_model):
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import interrupt

    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda _: {"messages": [("ai", interrupt("May I launch?"))]})
    graph.add_edge(START, "ask")
    return graph.compile(checkpointer=InMemorySaver())


def openai_agents_agent(_model):
    from agents import Agent

    return Agent("mine", instructions=SYSTEM)  # no model: it gets the run's


def openai_agents_team(model):
    from agents import Agent, OpenAIChatCompletionsModel, function_tool

    @function_tool
    def count(text: str) -> int:
        """Count letters."""
        return len(text)

    own = OpenAIChatCompletionsModel(model.name, openai_client=model.openai_client())
    writer = Agent("writer", instructions="Write.", model=own, tools=[count])
    return Agent("front", instructions="Hand over.", handoffs=[writer])


def openai_agents_nested(_model):
    from agents import Agent

    inner = Agent("inner")
    return Agent("outer", tools=[inner.as_tool("ask", "Ask another agent.")])


def openai_agents_asking(_model):
    from agents import Agent, function_tool

    @function_tool(needs_approval=True)
    def launch() -> str:
        """Launch."""
        return "launched"

    return Agent("front", tools=[launch])


def pydantic_ai_agent(_model):
    from pydantic_ai import Agent

    return Agent(instructions=SYSTEM)  # no model: it gets the run's


def pydantic_ai_asking(_model):
    from pydantic_ai import Agent, DeferredToolRequests

    agent = Agent(output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def launch() -> str:
        return "launched"

    return agent


def _chat_client(model):
    from agent_framework.openai import OpenAIChatCompletionClient

    return OpenAIChatCompletionClient(model=model.name, async_client=model.openai_client())


def agent_framework_agent(model):
    from agent_framework import Agent

    return Agent(_chat_client(model), SYSTEM)


def agent_framework_team(model):
    from agent_framework import Agent, WorkflowBuilder

    writer = Agent(_chat_client(model), "Write.", name="writer")
    editor = Agent(_chat_client(model), "Edit.", name="editor")
    return WorkflowBuilder(start_executor=writer).add_edge(writer, editor).build()


def agent_framework_nested(model):
    from agent_framework import Agent

    inner = Agent(_chat_client(model), name="inner", description="Answers.")
    return Agent(_chat_client(model), tools=[inner.as_tool(name="ask", arg_name="input")])


def agent_framework_asking(model):
    from agent_framework import Agent, tool

    @tool(approval_mode="always_require")
    def launch() -> str:
        """Launch."""
        return "launched"

    return Agent(_chat_client(model), tools=[launch])
