"""A target's name and libFuzzer's options go in; atheris calls the target with bytes that reach new code, until one is a finding."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
WATCHED = ("vibe_assets", "PIL")  # Python code whose branches guide the search; decoders in C are reached blindly


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target; ends the process. A folder among the arguments is the corpus, kept between runs."""
    import atheris

    with atheris.instrument_imports(include=list(WATCHED)):
        from tests.fuzz.targets import TARGETS, seeds

        target = TARGETS[name]
        for seed in seeds(name):  # also loads what the target imports, instrumented
            target(seed)
    corpus = next((argument for argument in arguments if not argument.startswith("-")), None)
    if corpus is None:
        corpus = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
        arguments = [*arguments, corpus]
    for number, seed in enumerate(seeds(name)):
        (Path(corpus) / f"seed-{number:02d}").write_bytes(seed)
    words = {word for seed in seeds(name) for word in re.findall(rb'"[\w.@-]{1,40}"', seed)}  # what JSON is made of here
    if words:
        dictionary = Path(tempfile.mkdtemp(prefix="fuzz-words-")) / "words.dict"
        dictionary.write_text("".join(f'"\\"{word[1:-1].decode()}\\""\n' for word in sorted(words)))
        arguments = [f"-dict={dictionary}", *arguments]
    known = {argument.partition("=")[0] for argument in arguments}
    limits = [text for text in ("-max_len=8192", "-timeout=10", "-rss_limit_mb=1500") if text.partition("=")[0] not in known]
    atheris.Setup([sys.argv[0], *limits, *arguments], target)
    atheris.Fuzz()
