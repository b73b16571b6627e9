"""The user's model file: what it says, what is wrong with it, and how it is changed."""

from __future__ import annotations

import enum
import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.errors import (
    InvalidParameterError,
    LlamaForgeError,
    ModelExistsError,
    ModelFileError,
    UnknownModelError,
)
from llamaforge.models import DEFAULT_MODEL, ModelEntry, ModelFile
from llamaforge.secrets import Secret

HAND_WRITTEN = """\
# My models.

default = "llama"   # the good one

# The good one.
[models.llama]
path = '~/models/llama.gguf'  # on the large disk
backend = "llama.cpp"

[models.llama.parameters]
# enough for a book
n_ctx   =   4_096
rope = { type = "yarn", factor = 2.0 }

# Remote.
[models."gpt-4"]
path = "gpt-4"
backend = "openai"
parameters = { api_key = "env:OPENAI_API_KEY" }
# The end.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "models.toml"


@pytest.fixture
def written(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text(HAND_WRITTEN)
    return path


class TestWhere:
    def test_the_argument_goes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLAMAFORGE_CONFIG", str(tmp_path / "other.toml"))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert ModelFile(tmp_path / "mine.toml").path == tmp_path / "mine.toml"
        assert ModelFile(Path("~/mine.toml")).path == tmp_path / "mine.toml"

    def test_then_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLAMAFORGE_CONFIG", str(tmp_path / "other.toml"))
        assert ModelFile().path == tmp_path / "other.toml"

    def test_then_the_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLAMAFORGE_CONFIG", "")
        folder = platformdirs.user_config_dir("llamaforge", appauthor=False)
        assert ModelFile().path == Path(folder) / "models.toml"


class TestReading:
    def test_no_file_is_an_empty_one(self, path: Path) -> None:
        assert ModelFile(path).load() == {}
        assert ModelFile(path).default is None
        assert not path.parent.exists()

    def test_all_fields(self, written: Path) -> None:
        file = ModelFile(written)
        assert file.default == "llama"
        assert list(file.load().values()) == [
            ModelEntry(
                name="llama",
                path="~/models/llama.gguf",
                backend="llama.cpp",
                parameters={"n_ctx": 4096, "rope": {"type": "yarn", "factor": 2.0}},
                origin="file",
            ),
            ModelEntry(
                name="gpt-4",
                path="gpt-4",
                backend="openai",
                parameters={"api_key": "env:OPENAI_API_KEY"},
                origin="file",
            ),
        ]

    @pytest.mark.parametrize(
        ("text", "line", "says"),
        [
            ("default = 1\n", 1, "default must be text"),
            ("\n\nmodel = 1\n", 3, "'model' is unknown. Did you mean 'models'"),
            ("zzz = 1\n", 1, "Known: default, models"),
            ("models = 1\n", 1, "models must be a table"),
            ("[models]\nx = 1\n", 2, r"the model 'x' must be a table: \[models.x\]"),
            ("[models.x]\n", 1, "the model 'x' has no path"),
            ("[models.x]\nbackend = 'a'\n", 1, "the model 'x' has no path"),
            ("[models.x]\npath = 1\n", 2, "in the model 'x', path must be text"),
            ("[models.x]\npath = ''\n", 2, "in the model 'x', path must be a path or another model reference"),
            ("[models.x]\npath = 'a'\nbackend = ''\n", 3, "backend must be a backend's name"),
            ("[models.x]\npath = 'a'\nsha256 = 'a'\n", 3, "sha256 must be 64 hexadecimal digits"),
            ("[models.x]\npath = 'a'\nparameters = []\n", 3, "parameters must be a table"),
            ("[models.x]\npath = 'a'\n\n[models.x.paramters]\na = 1\n", 4, "Did you mean 'parameters'"),
            ("# a\n[models.x]\npath = '''\na\n'''\nparams = [\n  1,\n]\n", 6, "'params' is unknown"),
            ("[models.x]\npath = 'a'\n[models.y]\npath = 'b'\ngeneration = 1\n", 5, "in the model 'y', generation"),
            ('[models]\n[models."a\\nb"]\npath = "x"\n', 2, "name must be non-empty text"),
            ("a = \n", 1, "not valid TOML"),
            ("[models.x]\npath = 'a'\npath = 'b'\n", 3, "not valid TOML"),
            ("[models.x]\npath = 'a'\n[models.x]\n", 3, "not valid TOML"),
            ("[models.x]\npath = 'a", 2, "not valid TOML"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_line_and_left_alone(
        self, path: Path, text: str, line: int, says: str
    ) -> None:
        path.parent.mkdir()
        path.write_text(text)
        file = ModelFile(path)

        def set_default() -> None:
            file.default = None

        actions = (
            file.load,
            lambda: file.default,
            lambda: file.add(ModelEntry("new", "x"), replace=True),
            lambda: file.remove("x"),
            set_default,
        )
        for action in actions:
            with pytest.raises(ModelFileError, match=says) as caught:
                action()
            assert (caught.value.path, caught.value.line) == (path, line)
            assert isinstance(caught.value, ValueError)
        assert path.read_text() == text

    def test_bytes_that_are_no_text(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"# fine\n# \xff\n")
        with pytest.raises(ModelFileError, match="UTF-8") as caught:
            ModelFile(path).add(ModelEntry("a", "b"))
        assert caught.value.line == 2
        assert path.read_bytes() == b"# fine\n# \xff\n"

    def test_a_value_with_a_secret_is_not_repeated(self, path: Path) -> None:
        path.parent.mkdir()
        for text in ("[models.x]\npath = 'a'\napi_key = 'canary'\n", "[models.x]\nparameters = 'canary'\n", "canary"):
            path.write_text(text)
            with pytest.raises(ModelFileError) as caught:
                ModelFile(path).load()
            assert "canary" not in f"{caught.value} {caught.value!r}"

    def test_a_folder_in_its_place(self, path: Path) -> None:
        path.mkdir(parents=True)
        with pytest.raises(ModelFileError, match="can't be read"):
            ModelFile(path).load()

    def test_a_mark_at_the_beginning(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("\ufeff[models.x]\npath = 'a'\n", encoding="utf-8")
        assert list(ModelFile(path).load()) == ["x"]


class TestChanging:
    def test_a_new_file(self, path: Path) -> None:
        file = ModelFile(path)
        entry = ModelEntry(
            "my model",
            "pypi:a/b",
            backend="llama.cpp",
            parameters={"n_ctx": 1, "deep": {"list": [1, 2.5, "x", True]}, "empty": {}},
            generation={"temperature": 0.0},
            sha256="ab" * 32,
        )
        file.add(entry)
        (found,) = file.load().values()
        assert found.same_as(entry)
        assert found.origin == "file"
        assert path.read_text().startswith("#")
        if os.name == "posix":
            assert path.stat().st_mode & 0o777 == 0o600

    def test_what_the_user_wrote_stays(self, written: Path) -> None:
        file = ModelFile(written)
        file.add(ModelEntry("new", "x.gguf"))
        assert written.read_text() == HAND_WRITTEN + '\n[models.new]\npath = "x.gguf"\n'
        file.remove("new")
        assert written.read_text() == HAND_WRITTEN
        file.default = "gpt-4"
        assert written.read_text() == HAND_WRITTEN.replace('"llama"   #', '"gpt-4"   #')

    def test_the_same_again_changes_nothing(self, written: Path) -> None:
        before = written.stat()
        file = ModelFile(written)
        file.add(file.load()["llama"])
        file.default = "llama"
        assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_a_different_one_is_refused_unless_it_replaces(self, written: Path) -> None:
        file = ModelFile(written)
        other = ModelEntry("llama", "~/models/other.gguf", backend="llama.cpp", parameters={"n_ctx": 4096})
        with pytest.raises(ModelExistsError) as caught:
            file.add(other)
        assert caught.value.name == "llama"
        assert written.read_text() == HAND_WRITTEN
        file.add(other, replace=True)
        assert file.load()["llama"].same_as(other)
        text = written.read_text()
        for kept in (
            "# on the large disk",
            "# enough for a book",
            "n_ctx   =   4_096",
            "# The good one.",
            "# The end.",
        ):
            assert kept in text
        assert "rope" not in text

    @pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0.0, -0.0)])
    def test_values_that_python_calls_equal_are_not_the_same(self, path: Path, old: Any, new: Any) -> None:
        file = ModelFile(path)
        file.add(ModelEntry("a", "b", parameters={"x": old}))
        with pytest.raises(ModelExistsError):
            file.add(ModelEntry("a", "b", parameters={"x": new}))
        file.add(ModelEntry("a", "b", parameters={"x": new}), replace=True)
        assert repr(file.load()["a"].parameters["x"]) == repr(new)

    def test_removing(self, written: Path) -> None:
        file = ModelFile(written)
        file.remove("llama")
        assert list(file.load()) == ["gpt-4"]
        assert file.default is None
        assert "# Remote." in written.read_text()
        file.remove("gpt-4")
        assert file.load() == {}
        assert "# The end." in written.read_text()
        with pytest.raises(UnknownModelError):
            file.remove("gpt-4")

    def test_an_unknown_name(self, written: Path) -> None:
        file = ModelFile(written)
        with pytest.raises(UnknownModelError) as caught:
            file.remove("lama")
        assert caught.value.suggestions == ["llama"]
        with pytest.raises(UnknownModelError):
            file.default = "lama"
        assert written.read_text() == HAND_WRITTEN

    def test_the_default(self, path: Path, written: Path) -> None:
        file = ModelFile(path)
        file.default = None
        assert file.default is None
        assert "default" not in path.read_text()
        file.default = DEFAULT_MODEL.name
        assert file.default == DEFAULT_MODEL.name
        assert path.read_text().startswith(f'# My models.\ndefault = "{DEFAULT_MODEL.name}"\n\n')

    @pytest.mark.parametrize(
        "text",
        [
            "models = {}\n",
            "models = { x = { path = 'y' } }\n",
            "[models]\nx.path = 'y'\nx.parameters.n = 1\n",
            "[models]\nx = { path = 'y' }",
            "[models]\n",
            "models.x.path = 'y'",
            "[models.x]\npath = 'y'\n[models.x.parameters]\n[[models.x.parameters.lora]]\na = 1\n",
            "[models.x.parameters]\n[models.z]\npath = 'z'\n[models.x]\npath = 'y'\n",
            "[models.x]\npath = '''\n[models.x]\n'''\nparameters.list = [\n[1],\n[2]\n]\n",
            "# only a comment",
            "\n\n",
            "",
        ],
    )
    def test_every_way_to_write_it(self, path: Path, text: str) -> None:
        path.parent.mkdir()
        path.write_text(text)
        file = ModelFile(path)
        before = file.load()
        one, other = ModelEntry("new", "n", parameters={"a": {"b": 1}}), ModelEntry("x", "changed", generation={"c": 2})
        file.add(one)
        file.add(other, replace=True)
        file.default = "x"
        found = file.load()
        assert found["new"].same_as(one)
        assert found["x"].same_as(other)
        assert found.keys() == before.keys() | {"new", "x"}
        file.remove("x")
        assert file.default is None
        assert file.load().keys() == before.keys() - {"x"} | {"new"}

    def test_line_ends_stay_what_they_are(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(HAND_WRITTEN.replace("\n", "\r\n").encode())
        file = ModelFile(path)
        file.add(ModelEntry("new", "x"))
        file.remove("new")
        assert path.read_bytes() == HAND_WRITTEN.replace("\n", "\r\n").encode()

    @pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")
    def test_mode_and_link(self, tmp_path: Path, path: Path) -> None:
        real = tmp_path / "dotfiles" / "models.toml"
        real.parent.mkdir()
        real.write_text(HAND_WRITTEN)
        real.chmod(0o644)
        path.parent.mkdir()
        path.symlink_to(real)
        file = ModelFile(path)
        file.add(ModelEntry("new", "x"))
        assert path.is_symlink()
        assert "new" in real.read_text()
        assert real.stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in real.parent.iterdir() if entry.name != ".models.toml.lock") == [real.name]

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        file = ModelFile(tmp_path / "file" / "models.toml")
        with pytest.raises(ModelFileError, match="can't be"):
            file.add(ModelEntry("a", "b"))

    def test_a_disk_that_is_full(self, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ModelFileError, match="No space left"):
            ModelFile(written).add(ModelEntry("a", "b"))
        assert written.read_text() == HAND_WRITTEN
        assert sorted(entry.name for entry in written.parent.iterdir() if entry.name[0] != ".") == [written.name]
        assert not list(written.parent.glob("*.part"))
        assert not list(written.parent.glob(".*.part"))


class Plain(enum.StrEnum):
    YARN = "yarn"


class TestValues:
    @pytest.mark.parametrize(
        ("value", "place"),
        [
            (None, "parameters.x"),
            (object(), "parameters.x"),
            ({"deep": [1, None]}, r"parameters.x.deep\[1\]"),
            ({1: 2}, "parameters.x"),
            ({1, 2}, "parameters.x"),
            (b"canary", "parameters.x"),
            (Secret("canary"), "parameters.x"),
            ("canary\udc00", "parameters.x"),
            ({"canary\udc00": 1}, "parameters.x"),
            (lambda: None, "parameters.x"),
            (1j, "parameters.x"),
        ],
    )
    def test_what_toml_cannot_hold(self, written: Path, value: Any, place: str) -> None:
        with pytest.raises(InvalidParameterError, match=f"^{place} (can't be saved in a file|must be)") as caught:
            ModelFile(written).add(ModelEntry("a", "b", parameters={"x": value}))
        assert "canary" not in str(caught.value)
        assert written.read_text() == HAND_WRITTEN

    def test_a_circle(self, written: Path) -> None:
        circle: dict[str, Any] = {}
        circle["again"] = circle
        with pytest.raises(InvalidParameterError, match="levels deep"):
            ModelFile(written).add(ModelEntry("a", "b", parameters=circle))

    def test_what_is_written_as_something_plainer(self, path: Path) -> None:
        values = {"path": Path("a") / "b", "kind": Plain.YARN, "pair": (1, 2), "flag": True, "many": 10**30}
        ModelFile(path).add(ModelEntry("a", "b", parameters=values))
        found = ModelFile(path).load()["a"].parameters
        assert found == {**values, "path": str(Path("a") / "b"), "kind": "yarn", "pair": [1, 2]}
        ModelFile(path).add(ModelEntry("a", "b", parameters=values))


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.datetimes() | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.builds(
    ModelEntry,
    name=NAMES,
    path=TEXT.filter(str.strip),
    backend=st.none() | TEXT.filter(bool),
    parameters=st.dictionaries(TEXT, VALUES, max_size=3),
    generation=st.dictionaries(TEXT, VALUES, max_size=2),
    sha256=st.none() | st.just("0f" * 32),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ENTRIES, min_size=1, max_size=4), st.data())
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, entries: list[ModelEntry], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("file") / "models.toml"
    path.write_text("# mine\n")
    file = ModelFile(path)
    expected: dict[str, ModelEntry] = {}
    for entry in entries:
        file.add(entry, replace=True)
        expected[entry.name] = entry
        default = data.draw(st.none() | st.sampled_from(sorted(expected)))
        file.default = default
        assert file.default == default
    found = file.load()
    assert found.keys() == expected.keys()
    assert all(found[name].same_as(expected[name]) for name in expected)
    for name in list(expected):
        file.remove(name)
        del expected[name]
        assert file.load().keys() == expected.keys()
    assert path.read_text().startswith("# mine")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.text(alphabet="[]{}=.'\"#\nmodelsxpath12,", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_never_overwritten_by_half(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("file") / "models.toml"
    path.write_bytes(raw)
    file = ModelFile(path)
    try:
        before = file.load()
        file.add(ModelEntry("new", "x"), replace=True)
    except LlamaForgeError:
        assert path.read_bytes() == raw
        return
    after = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    assert after["models"].keys() == before.keys() | {"new"}
