"""Small tokenizers of every kind, trained on a few lines: real ones of the tokenizers library."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "The quick brown fox doesn't jump over 3.14 lazy dogs, does it?",
    "Don't we'll they're it's you'd. Hello, world! e-mail (a == b) { return [1, 2]; } two  spaces",
    "Grüße aus Köln, à bientôt! Привет, мир. 你好,世界。 “quoted” … ½",
    "once upon a time there was a time once upon which the dogs were jumping and jumped and jumps",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>"]


def fast(tokenizer: Tokenizer, **more: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", **more
    )


def unigram_with_bytes() -> Any:
    """As sentencepiece makes them for Llama: metaspace, byte fallback, the leading space stripped."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    )
    scores = {token: -float(index) / 50 for token, index in trained.get_vocab().items()}
    pieces = [(token, 0.0) for token in SPECIAL] + [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    pieces += [(token, score) for token, score in scores.items() if token not in SPECIAL]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return fast(tokenizer)


def unigram_normalised() -> Any:
    """As for T5 and its kin: normalised text, metaspace, no bytes."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    )
    return fast(tokenizer)


def wordpiece() -> Any:
    """As for BERT: pieces of words, and spaces before punctuation cleaned up by the decoder."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    )
    return fast(tokenizer)


def word_ends() -> Any:
    """As for the first GPT: a suffix marks the ends of words, and the last one's is no space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False),
    )
    return fast(tokenizer)


def byte_level() -> Any:
    """As for GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return fast(tokenizer)


def words() -> Any:
    """No decoder at all: words with spaces between them."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return fast(tokenizer)


KINDS = {
    "byte_level": (byte_level, "bytes"),
    "unigram_with_bytes": (unigram_with_bytes, "bytes"),
    "unigram_normalised": (unigram_normalised, "bytes"),
    "wordpiece": (wordpiece, "bytes"),
    "words": (words, "bytes"),
    "word_ends": (word_ends, "settled"),
}
"""How to make one, and how its tokens become text."""
