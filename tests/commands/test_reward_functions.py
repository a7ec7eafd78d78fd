"""A reward model as TRL's and verl's reward functions: the same scores, each context read once."""

import json

import pytest

from toolrm_jax import RewardModel
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.reward_functions import MODEL, trl_reward, verl_reward, verl_rewards


@pytest.fixture(scope="session")
def example(finished):
    return json.loads((finished / "example.jsonl").read_text())


@pytest.fixture(scope="session")
def model(finished):
    return RewardModel.load(finished / "model")


CALL = '<tool_call>\n{"name": "rain", "arguments": {"city": "Ulm", "days": 3}}\n</tool_call>'


def test_a_batch_is_scored_as_each_answer_alone_and_a_context_is_read_once(example, model, monkeypatch):
    tools, messages = example["tools"], example["messages"]
    other = [{"role": "user", "content": "Hello."}]
    prompts = [messages, other, messages, other]
    texts = [CALL, "Hi.", "I cannot.", CALL]
    alone = [model.score(tools, prompt, [text])[0] for prompt, text in zip(prompts, texts)]
    asked = []
    score_all = model.score_all
    monkeypatch.setattr(model, "score_all", lambda questions: asked.append(len(questions)) or score_all(questions))
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    columns = {"tools": [tools, json.dumps(tools), tools, tools], "completion_ids": [[1]] * 4, "trainer_state": None}
    assert trl_reward(model)(prompts=prompts, completions=completions, **columns) == pytest.approx(alone, abs=1e-5)
    assert asked == [2]


def test_calls_of_a_message_count_as_those_of_a_text(example, model):
    call = {"type": "function", "function": {"name": "rain", "arguments": {"city": "Ulm", "days": 3}}}
    message = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    both = trl_reward(model)([example["messages"]] * 2, [message, CALL], tools=[example["tools"]] * 2)
    assert both[0] == pytest.approx(both[1], abs=1e-6)


def test_an_answer_that_cannot_be_read_may_have_a_reward_of_its_own(example, model):
    scores = trl_reward(model, unreadable=-9.0)(
        [example["messages"]] * 2, ["<tool_call>{broken", "fine"], tools=[example["tools"]] * 2
    )
    assert scores[0] == -9.0
    assert scores[1] != -9.0


def test_verl_gives_prompts_by_extra_info_and_the_model_by_the_environment(finished, example, model, monkeypatch):
    extra = {"tools": json.dumps(example["tools"]), "messages": json.dumps(example["messages"])}
    monkeypatch.delenv(MODEL, raising=False)
    with pytest.raises(ConfigError, match="TOOLRM_MODEL is not set"):
        verl_reward("s", CALL, None, extra)
    monkeypatch.setenv(MODEL, str(finished / "model"))
    expected = model.score(example["tools"], example["messages"], [CALL, "No."])
    assert verl_reward("s", CALL, None, extra) == pytest.approx(expected[0], abs=1e-5)
    assert verl_rewards(["s"] * 2, [CALL, "No."], [None] * 2, [extra] * 2) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="extra_info lacks 'messages'"):
        verl_reward("s", CALL, None, {"tools": []})


def test_a_data_set_without_tools_or_for_prompts_that_are_texts_without_messages_is_told(model, example):
    with pytest.raises(ConfigError, match="no column 'functions'"):
        trl_reward(model, tools="functions")(["a"], ["b"], tools=[[]])
    with pytest.raises(ConfigError, match="no column 'talk'"):
        trl_reward(model, messages="talk")(["a"], ["b"], tools=[[]], messages=[[]])


def test_a_prompt_that_is_a_text_is_scored_by_its_columns_not_by_the_text(model, example):
    tools, messages = example["tools"], example["messages"]
    expected = model.score(tools, messages, [CALL, "No."])
    columns = {"tools": [json.dumps(tools)] * 2, "messages": [json.dumps(messages)] * 2}
    assert trl_reward(model)(["rendered"] * 2, [CALL, "No."], **columns) == pytest.approx(expected, abs=1e-5)


def test_fields_that_a_data_set_fills_with_none_change_no_score(model, example, monkeypatch):
    """`datasets` gives the rows of a column of lists one schema: each tool gets the parameters of all others."""
    datasets = pytest.importorskip("datasets")
    other = {"type": "object", "properties": {"where": {"type": "string", "enum": ["a"]}}, "required": ["where"]}
    rows = [
        {"tools": example["tools"], "messages": example["messages"]},
        {
            "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": other}}],
            "messages": [{"role": "user", "content": "Look.", "name": "Ann"}],
        },
    ]
    columns = datasets.Dataset.from_list(rows).to_dict()
    assert columns["tools"] != [row["tools"] for row in rows]
    seen = []
    score_all = model.score_all
    monkeypatch.setattr(model, "score_all", lambda questions: seen.append(questions) or score_all(questions))
    trl_reward(model)(["rendered"] * 2, ["Yes.", "No."], **columns)
    assert [question[:2] for question in seen[0]] == [(row["tools"], row["messages"]) for row in rows]


@pytest.mark.slow
def test_trls_grpo_trainer_learns_from_it(finished, example, model, tiny_model, tmp_path):
    """Two steps on a tiny policy: it sees the tools, the rewards that TRL logs are ours, and its weights move."""
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = policy.model.layers[0].mlp.up_proj.weight.detach().clone()
    given = []
    ours = trl_reward(model)

    def reward(**columns):
        given.append(ours(**columns))
        return given[-1]

    def row(tools, messages):  # as docs/using_scores.md has it
        prompt = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
        return {"prompt": prompt, "tools": json.dumps(tools), "messages": json.dumps(messages)}

    talks = [[{"role": "user", "content": f"Give me rain in Ulm for {days} days."}] for days in (3, 4, 5, 6)]
    data = datasets.Dataset.from_list([row(example["tools"], talk) for talk in talks])
    read, generate = [], policy.generate

    def watched(*arguments, **named):
        read.extend(tokenizer.batch_decode(named["input_ids"]))
        return generate(*arguments, **named)

    policy.generate = watched
    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        max_steps=2,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
    )
    trainer = trl.GRPOTrainer(
        model=policy, reward_funcs=reward, args=arguments, train_dataset=data, processing_class=tokenizer
    )
    trainer.train()
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert len(given) == len(logged) == 2
    names = [tool["function"]["name"] for tool in example["tools"]]
    assert read
    assert all(f'"name": "{name}"' in text for text in read for name in names)
    assert logged == pytest.approx([sum(rewards) / len(rewards) for rewards in given], abs=1e-4)
    assert not torch.equal(before, policy.model.layers[0].mlp.up_proj.weight)
