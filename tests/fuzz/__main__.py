"""`./dev fuzz api [--seconds N]`: requests made of the OpenAPI document, for a live server.

`./dev fuzz gossip [--seconds N]`: random bytes, guided by coverage, for every decoder.
`./dev fuzz dns [--seconds N]`: the same, as questions of clients and as replies of recursors.

What is found interesting is kept in .dev/fuzz/, where the next run goes on; an input that fails is
kept there too, and `./dev fuzz gossip --replay FILE` runs it again.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

TOP = Path(__file__).parent.parent.parent
MEMORY_MEGABYTES, SECONDS_PER_INPUT, BYTES_PER_INPUT = 1024, 10, 4096


def main() -> None:
    """Run for a while; exit code 1 when an input fails."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("what", choices=["api", "dns", "gossip"], help="what is tried")
    parser.add_argument("--seconds", type=int, default=60, help="how long; 60 unless told")
    parser.add_argument("--seed", type=int, default=0, help="repeat a run; 0 for any")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="only this input")
    parser.add_argument("--corpus", type=Path, help="in .dev/fuzz/ unless told")
    options = parser.parse_args()
    if options.what == "api":
        _api(options.seconds, options.seed)
        return
    if options.replay:
        # Without coverage, so that it works everywhere.
        import_module(f"tests.fuzz.{options.what}").one_input(options.replay.read_bytes())
        print("no failure")
        return
    if find_spec("atheris") is None:
        sys.exit(
            "atheris is not installed: there is no wheel for this Python or machine. "
            "The property tests of tests/fuzz run the same functions: ./dev test tests/fuzz"
        )
    corpus = options.corpus or TOP / ".dev" / "fuzz" / options.what
    corpus.mkdir(parents=True, exist_ok=True)
    _fuzz(options.what, corpus, options.seconds, options.seed)


def _api(seconds: int, seed: int) -> None:
    from tests.fuzz import api

    with TemporaryDirectory(prefix="mesh-fuzz-") as folder:
        node = api.server(Path(folder), "127.0.0.1")
        try:
            found = api.run(node, seconds, seed)
        except BaseException:
            print(node.log()[-5000:], file=sys.stderr)
            raise
        finally:
            node.stop()
    print(f"{sum(found.statuses.values())} answers: {dict(sorted(found.statuses.items()))}")
    print(f"slowest {found.slowest_seconds:.2f} s, memory {found.grown_bytes / 2**20:+.1f} MB")


def _fuzz(what: str, corpus: Path, seconds: int, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=[f"mesh.{what}", "mesh.clock"]):
        tried = import_module(f"tests.fuzz.{what}")
        seeds = import_module("tests.fuzz.seeds").SEEDS if what == "gossip" else tried.SEEDS
        from tests.fuzz.mutation import changed

        if what == "dns":
            changed = tried.mutated

    def mutate(data: bytes, size_max: int, number: int) -> bytes:
        # Half of the time with what is known of its form: msgpack, or DNS.
        found = changed(data, number) if number & 1 else data
        if found == data or len(found) > size_max:
            found = atheris.Mutate(data, size_max)
        return found

    for number, one in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(one)
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-rss_limit_mb={MEMORY_MEGABYTES}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-max_len={BYTES_PER_INPUT}",
        f"-artifact_prefix={corpus}-failed-",
        "-len_control=20",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, tried.one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
