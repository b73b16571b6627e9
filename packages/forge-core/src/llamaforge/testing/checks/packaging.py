"""The plugin as a package: light, described, and as its spec says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ...backends.base import BaseBackend
from ...backends.config import BackendConfig, describe_config
from ...backends.registry import get_config, get_spec
from ...backends.spec import API_VERSION, BackendSpec
from ...errors import LlamaForgeError, UnknownParameterError
from ...parameters import NAMES, UNIVERSAL
from ...plugins import import_object
from ...requests.embedding import EmbeddingOptions
from ..expect import NotAsExpected, Told, expect, expect_equal, expect_refusal
from ..importing import HEAVY, Imported
from ..kit import Kit
from ..subject import Subject

EMBEDDING: Final = frozenset(EmbeddingOptions.__struct_fields__)


class PackagingChecks(Kit):
    """Spec, config, and what an import costs. A basic backend has no spec, and is held to what it has."""

    def test_it_can_be_imported_elsewhere(self, imported: Imported) -> None:
        """Another process can import the plugin, its config and its class, and make a backend.

        Why: it works on its author's machine. Look at: modules that only your tests have on their path.
        """
        expect(imported.error is None, "an import without an error in another process", Told(imported.error))

    def test_importing_is_light(self, imported: Imported) -> None:
        """Importing the plugin, its config and its class imports no engine, no numpy and no rich.

        Why: every plugin that is installed would slow every start. Look at: imports at the top of your modules; import
        the engine in ``load`` (``llamaforge.backends.base.import_engine``).
        """
        expect(
            not imported.heavy, f"none of {', '.join(HEAVY)} to be imported before a model is loaded", imported.heavy
        )

    def test_importing_prints_nothing(self, imported: Imported) -> None:
        """Importing writes nothing to standard output.

        Why: what a program prints is its own. Look at: banners, and ``print`` at the top level.
        """
        expect_equal(imported.printed, "", "what importing wrote to standard output")

    def test_listing_imports_none_of_it(self, imported: Imported) -> None:
        """``list_backends()`` names an installed backend without importing its class or its config.

        Why: one broken plugin would break every listing. Look at: the entry point; its module should hold the spec
        alone.
        """
        expect(imported.listed is not False, "the backend's name in list_backends()", Told("it is not there"))
        expect(not imported.imported_by_listing, "listing to import nothing of it", imported.imported_by_listing)

    def test_matching_is_a_number_for_any_location(self, imported: Imported) -> None:
        """The spec's ``match`` answers 0 to 100 for any location, and never raises.

        Why: it is asked about every model that anybody loads. Look at: paths that don't exist, names that are no paths.
        """
        wrong = [(location, score) for location, score in imported.scores if not _is_score(score)]
        expect(not wrong, "a whole number from 0 to 100 for each location", wrong)
        spec = self.backend_class().spec
        if spec is not None:
            for location in ("", "model.gguf", "org/name", "\x00", "ü" * 5000):
                score = Subject.answered(partial(spec.match, location), f"match({location[:20]!r})")
                expect(_is_score(score), f"a whole number from 0 to 100 for {location[:20]!r}", score)

    def test_the_spec_describes_the_class(self) -> None:
        """The spec has a name and a one-line summary, names this class and its config, and the current contract
        version.

        Why: core believes it and looks no further. Look at: ``BackendSpec``; a class that was renamed.
        """
        backend = self.backend_class()
        spec = backend.spec
        if spec is None:
            expect(self.make().is_basic, "a spec: only basic backends have none", Told("spec = None"))
            return
        expect(isinstance(spec, BackendSpec), "a BackendSpec", spec)
        expect(spec.name.strip() == spec.name != "", "a name", spec.name)
        expect(spec.summary.strip() and "\n" not in spec.summary, "a summary of one line", spec.summary)
        expect_equal(spec.api_version, API_VERSION, "the contract version it is written for")
        target = Subject.answered(lambda: import_object(spec.target), f"the spec's target {spec.target!r} to be there")
        expect(issubclass(backend, target), f"the spec's target to be {backend.__name__}, or a parent of it", target)
        config = Subject.answered(lambda: import_object(spec.config), f"the spec's config {spec.config!r} to be there")
        expect(issubclass(backend.config_class, config), "the spec's config to be config_class, or a parent", config)

    def test_the_registry_agrees_with_the_class(self) -> None:
        """The spec and config that the registry gives for the name are those of the class.

        Why: help and checks use the registry's, requests the class's. Look at: two specs in two modules.
        """
        name, backend = self.registered_name(), self.backend_class()
        if name is None:
            expect(issubclass(backend, BaseBackend), "a subclass of BaseBackend", backend)
            return
        spec = get_spec(name)
        expect_equal(spec.name, name if backend.spec is not None else spec.name, "the spec's name")
        if backend.spec is not None:
            expect_equal(spec.capabilities, backend.spec.capabilities, "the registry's capabilities")
        expect(get_config(name) is backend.config_class, "the registry's config to be config_class", get_config(name))

    def test_load_parameters_are_described(self) -> None:
        """Each load parameter has a type in words and a description that is a sentence.

        Why: ``llamaforge backends show`` is the documentation that people find. Look at: ``Meta(description=...)``.
        """
        config = self.config_class()
        expect(issubclass(config, BackendConfig), "a subclass of BackendConfig", config)
        for field in describe_config(config):
            expect(field.description.strip(), f"a description of the load parameter {field.name!r}", field)
            expect(field.type, f"a type in words of the load parameter {field.name!r}", field)

    def test_load_parameters_are_checked(self) -> None:
        """An unknown load parameter raises UnknownParameterError, one of a wrong type a typed error; nothing is loaded.

        Why: a typing error that changes nothing is found weeks later. Look at: ``config_class``; a basic backend's are
        its own.
        """
        config = self.config_class()
        error = expect_refusal(
            UnknownParameterError, lambda: config.read({"no_such_parameter": 1}), "an unknown load parameter"
        )
        expect_equal(error.name, "no_such_parameter", "error.name")
        backend = self.make()
        if backend.is_basic:
            return
        wrong: dict[str, Any] = {**self.parameters, "no_such_parameter": 1}
        expect_refusal(
            UnknownParameterError, lambda: backend.load_model(self.location(), wrong), "an unknown load parameter"
        )
        expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after refused load parameters")
        for name in config.__struct_fields__:
            try:
                config.read({**self.parameters, name: object()})
            except LlamaForgeError:
                continue
            except Exception as raised:
                raise NotAsExpected(f"a typed error for {name}=object()", raised) from raised
            expect(False, f"an error for {name}=object()", Told("none"))

    def test_refused_load_parameters_lose_nothing(self, subject: Subject) -> None:
        """Loading with wrong parameters leaves the model that is loaded where it is.

        Why: a typing error must not take a service down. Look at: unloading before checking.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        wrong = {**self.parameters, "no_such_parameter": 1}
        expect_refusal(
            UnknownParameterError, lambda: subject.backend.load_model(self.location(), wrong), "wrong parameters"
        )
        expect_equal(subject.backend.is_model_loaded(), True, "is_model_loaded() after refused load parameters")
        subject.agrees(subject.say(4), subject.known(4), "the answer after refused load parameters")

    def test_declared_parameters_are_canonical(self, subject: Subject) -> None:
        """The capabilities name canonical parameters and options of ``embed`` only, none of core's own, and with each
        parameter what it needs.

        Why: a misspelt declaration declares nothing. Look at: ``llamaforge.parameters.NAMES``.
        """
        able = subject.backend.capabilities
        unknown = sorted(able.parameters - set(NAMES))
        expect(not unknown, "canonical names among the declared parameters", unknown)
        unknown = sorted(able.embedding - EMBEDDING)
        expect(not unknown, f"none but {', '.join(sorted(EMBEDDING))} among the options of embed()", unknown)
        core = sorted(able.parameters & UNIVERSAL)
        expect(not core, f"none of core's own ({', '.join(sorted(UNIVERSAL))}) among the declared parameters", core)
        for name, needed in (("top_logprobs", "logprobs"), ("tool_choice", "tools")):
            expect(name not in able.parameters or needed in able.parameters, f"{needed}, declared with {name}", able)

    def test_the_levels_are_not_mixed(self) -> None:
        """A backend has ``stream`` or ``astream``, or else all four basic methods of its own.

        Why: half of each level behaves like neither. Look at: the docstring of :class:`llamaforge.BaseBackend`.
        """
        backend = self.backend_class()
        if backend.stream is not BaseBackend.stream or backend.astream is not BaseBackend.astream:
            expect(backend.load is not BaseBackend.load, "load() of its own, for a full backend", Told("it has none"))
            return
        missing = [
            name
            for name in ("load_model", "generate", "generate_stream", "is_model_loaded")
            if getattr(backend, name) is getattr(BaseBackend, name)
        ]
        expect(not missing, "stream() or astream(), or the four basic methods", Told(f"without {missing}"))

    def test_the_doctor_gets_an_answer(self) -> None:
        """The spec's probe, if there is one, tells of accelerators: lists called compiled, visible and advice.

        Why: ``llamaforge doctor`` is asked when nothing else works. Look at: ``BackendSpec.probe``.
        """
        spec = self.backend_class().spec
        if spec is None or spec.probe is None:
            return
        probe = spec.probe
        told = Subject.answered(lambda: import_object(probe)(), f"the probe {probe!r} to answer")
        expect(isinstance(told, Mapping), "a mapping", told)
        for name in ("compiled", "visible", "advice"):
            texts = told.get(name)
            sound = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
            expect(sound, f"a list of texts called {name!r}", told)


def _is_score(score: object) -> bool:
    return isinstance(score, int) and 0 <= score <= 100
