"""What a local path holds, and what is said of it: the same for every engine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine.context import context_length, trained_context
from llamaforge.errors import InvalidParameterError
from llamaforge.formats import local

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
FORMATS: list[local.Format] = ["gguf", "transformers"]


def put(folder: Path, *names: str, content: bytes = b"GGUF") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)
    return folder


class TestPaths:
    def test_a_tilde_is_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert local.local_path("~/a.gguf") == tmp_path / "a.gguf"
        assert local.local_path("a~b/~") == Path("a~b/~")
        assert local.local_path("~nobody-has-this-name/x") == Path("~nobody-has-this-name/x")
        assert local.is_gguf("~/none.gguf")
        put(tmp_path, "blob")
        assert local.is_gguf("~/blob")

    @given(st.text())
    def test_any_text_is_answered(self, text: str) -> None:
        assert isinstance(local.is_model_folder(text), bool)
        assert isinstance(local.is_folder_of(text, "gguf"), bool)
        assert not local.is_lfs_pointer(local.local_path(text))

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert not local.is_gguf(tmp_path / "pipe")
        os.mkfifo(tmp_path / "adapter_config.json")
        assert "another model" in local.describe_folder(tmp_path, "gguf")


class TestParts:
    def test_which_part_it_is(self) -> None:
        assert local.split_part("m-00002-of-00003.gguf") == (2, 3, "m-00001-of-00003.gguf")
        assert local.split_part("M-00001-OF-00002.GGUF") == (1, 2, "M-00001-of-00002.GGUF")
        assert local.split_part("m-00001-of-00001.gguf") is None
        assert local.split_part("m.gguf") is None

    def test_of_a_split_model_the_first_part_can_be_loaded(self, tmp_path: Path) -> None:
        put(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf", "z.gguf", "readme")
        assert local.gguf_models(tmp_path) == ["m-00001-of-00002.gguf", "z.gguf"]

    def test_files_without_a_suffix_count_by_their_content(self, tmp_path: Path) -> None:
        put(tmp_path, "sha256-1")
        put(tmp_path, "sha256-2", content=b"{}")
        assert local.gguf_models(tmp_path) == ["sha256-1"]


class TestFolders:
    @pytest.mark.parametrize("wanted", FORMATS)
    def test_gguf_files_are_named(self, wanted: local.Format, tmp_path: Path) -> None:
        put(tmp_path, "b.gguf", "a.gguf", "c.gguf", "d.gguf")
        said = local.describe_folder(tmp_path, wanted)
        assert repr(str(tmp_path / "a.gguf")) in said
        assert "there are 4" in said
        assert local.is_folder_of(tmp_path, wanted)

    @pytest.mark.parametrize("wanted", FORMATS)
    def test_an_adapter_names_its_model(self, wanted: local.Format, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
        put(tmp_path, "adapter_model.safetensors", content=b"")
        says = {"gguf": "lora=", "transformers": "merge_and_unload"}
        for said in (
            local.describe_folder(tmp_path, wanted),
            local.describe_file(tmp_path / "adapter_model.safetensors", wanted) or "",
        ):
            assert "org/base" in said
            assert says[wanted] in said
        assert local.is_folder_of(tmp_path, wanted) == (wanted == "transformers")

    @pytest.mark.parametrize("wanted", FORMATS)
    def test_the_first_part_is_missing(self, wanted: local.Format, tmp_path: Path) -> None:
        put(tmp_path, "m-00002-of-00002.gguf")
        assert "m-00001-of-00002.gguf" in local.describe_folder(tmp_path, wanted)

    @pytest.mark.parametrize("wanted", FORMATS)
    def test_only_a_projector(self, wanted: local.Format, tmp_path: Path) -> None:
        put(tmp_path, "mmproj-m.gguf")
        assert "projector" in local.describe_folder(tmp_path, wanted)

    @pytest.mark.parametrize("wanted", FORMATS)
    @pytest.mark.parametrize("inner", ["sub/config.json", "snapshots/0a/config.json", "sub/m.gguf"])
    def test_a_model_deeper_in_the_folder(self, inner: str, wanted: local.Format, tmp_path: Path) -> None:
        place = tmp_path / inner
        put(place.parent, place.name)
        model = place if inner.endswith(".gguf") else place.parent
        assert repr(str(model)) in local.describe_folder(tmp_path, wanted)

    def test_a_model_of_the_other_format(self, tmp_path: Path) -> None:
        put(tmp_path, "config.json", "model-00001-of-00002.safetensors", content=b"{}")
        assert "huggingface" in local.describe_folder(tmp_path, "gguf")
        for wanted in FORMATS:
            said = local.describe_file(tmp_path / "model-00001-of-00002.safetensors", wanted)
            assert said is not None
            assert repr(str(tmp_path)) in said

    def test_a_git_lfs_pointer_whatever_its_name(self, tmp_path: Path) -> None:
        put(tmp_path, "m.gguf", "model.safetensors", content=POINTER.encode())
        for name in ("m.gguf", "model.safetensors"):
            assert "git lfs pull" in (local.describe_file(tmp_path / name, "gguf") or "")


class TestContext:
    @pytest.mark.parametrize(
        ("asked", "trained", "usual", "length"),
        [
            (None, 131072, 8192, 8192),
            (None, 131072, None, 131072),
            (None, None, None, 4096),
            (0, 131072, 8192, 131072),
            (0, None, 8192, 8192),
            (99, 2048, 8192, 99),
            (2048, 2048, None, 2048),
            (9999, None, None, 9999),
        ],
    )
    def test_how_long_it_is(self, asked: int | None, trained: int | None, usual: int | None, length: int) -> None:
        assert context_length(asked, trained, usual=usual) == length

    def test_more_than_the_model_was_trained_for_is_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="n_ctx must be at most 2048, the context that this model"):
            context_length(2049, 2048)
        assert context_length(2049, 2048, stretched=True) == 2049

    def test_what_yarn_makes_of_it_counts(self) -> None:
        assert trained_context(4096, scaling="yarn", factor=4.0, original=4096) == 16384
        assert trained_context(16384, scaling="yarn", factor=4.0, original=4096) == 16384
        assert trained_context(4096, scaling="linear", factor=4.0, original=4096) == 4096
        assert trained_context(None) is trained_context("many") is trained_context(-1) is trained_context(True) is None
