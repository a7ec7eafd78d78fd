"""A tiny backbone, a tiny source and a finished tiny quickstart: all commands run on them in seconds."""

import json

import pytest

from toolrm_jax.cli import main
from toolrm_jax.sources.bfcl import CATEGORIES

CITIES = ("Köln", "Ulm", "Bonn", "Kiel", "Trier", "Mainz", "Essen", "Jena", "Gera", "Hof")


def function(name):
    parameters = {
        "type": "dict",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    }
    return {"name": name, "description": "Reads a value.", "parameters": parameters}


def question(name, city, days):
    return [{"role": "user", "content": f"Give me {name} in {city} for {days} days."}]


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """Most of the time of these tests is XLA's: what one of them has compiled the others find on disk."""
    import jax

    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    yield
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


@pytest.fixture(scope="session")
def bfcl_folder(tmp_path_factory):
    """Ten live and six non-live questions in BFCL's files; one live function, `rain`, is also non-live."""
    folder = tmp_path_factory.mktemp("bfcl")
    (folder / "possible_answer").mkdir()
    rows = {category: [] for category in CATEGORIES}
    for i, city in enumerate(CITIES):
        rows["live_simple"].append((f"live_simple_{i}", "wind" if i < 9 else "rain", city, i + 2))
    for i, city in enumerate(CITIES[:6]):
        rows["simple_python"].append((f"simple_python_{i}", "rain", city, i + 3))
    for category, some in rows.items():
        questions, answers = [], []
        for name, called, city, days in some:
            functions = [function(called), function("sun")]
            questions.append({"id": name, "question": [question(called, city, days)], "function": functions})
            answers.append({"id": name, "ground_truth": [{called: {"city": [city], "days": [days]}}]})
        for where, content in ((folder, questions), (folder / "possible_answer", answers)):
            text = "".join(json.dumps(row) + "\n" for row in content)
            (where / f"BFCL_v4_{category}.json").write_text(text)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A random Llama of two layers with a small ChatML tokenizer, as transformers saves it."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from toolrm_jax.data.template import chatml_tools
    from toolrm_jax.sources.bfcl import tool
    from toolrm_jax.toolcalls.render import openai_tool

    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    asked = [
        question(name, city, days)[0]["content"] for name in ("wind", "rain") for city in CITIES for days in (3, 4)
    ]
    tools = [json.dumps(openai_tool(tool(function(name)))) for name in ("wind", "rain", "sun")]
    text = [chatml_tools(), *asked, *tools, *tools]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens(special)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": special[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Three pairs of real answers: two non-live, one live."""
    rows = []
    for i, category in enumerate(("simple_python", "simple_python", "live_simple")):
        right, wrong = ({"rain": {"city": CITIES[i], "days": days}} for days in (i + 3, i + 4))
        rows.append(
            {
                "id": f"{category}_{i}",
                "category": category,
                "messages": question("rain", CITIES[i], i + 3),
                "functions": [function("rain")],
                "right": [right],
                "wrong": [wrong],
                "error_type": "incorrect parameter value",
            }
        )
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def words(bfcl_folder, tiny_model, pairs):
    """The command line of a quickstart of five steps, less its output."""
    return [
        "quickstart",
        f"model={tiny_model}",
        f"pairs={pairs}",
        f"prepare.path={bfcl_folder}",
        "prepare.train.categories=live_simple",
        "prepare.held_out.categories=simple_python",
        "train.model.layers=None",
        "train.model.frozen_layers=1",
        "prepare.train.recipe.mistakes=3",
        "prepare.train.recipe.joined=0.4",
        "train.data.row_length=512",
        "train.data.rows=1",
        "train.data.epochs=20",
        "train.steps=5",
        "train.evaluate_every=4",
        "train.save_every=100",
    ]


@pytest.fixture(scope="session")
def finished(words, tmp_path_factory):
    """The folder of a finished quickstart."""
    output = tmp_path_factory.mktemp("finished") / "quickstart"
    assert main([*words, f"output={output}"]) == 0
    return output


@pytest.fixture
def fails(capsys):
    """Runs a command line that must end with exit code 2 and one line on stderr, and returns that line."""

    def run(*words):
        assert main([str(word) for word in words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("toolrm: ")
        assert error.count("\n") == 1
        return error

    return run
