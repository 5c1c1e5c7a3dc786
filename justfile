# One word for each duty. `just --list` shows them; `uv` and a checkout are all they need.

export UV_PROJECT_ENVIRONMENT := env("UV_PROJECT_ENVIRONMENT", ".venv")
run := "uv run --locked --quiet"

# everything that must hold before a change is done
default: fmt lint types test

# the tests; arguments go to pytest: just test tests/session -k cut
test *arguments:
    {{run}} pytest -n 3 --dist loadfile {{arguments}}

# mypy, strict
types:
    {{run}} mypy

# ruff, and flake8-async for four rules that ruff lacks, where they can apply
lint:
    {{run}} ruff check
    {{run}} ruff format --check
    git grep -lzE 'async def|import trio' -- 'nanobot/*.py' 'tests/*.py' | xargs -0 {{run}} flake8-async --enable ASYNC101,ASYNC102,ASYNC103,ASYNC111

# put the code into shape
fmt:
    {{run}} ruff check --fix
    {{run}} ruff format

# the texts that are made from the code: the guide and the stored help
guide:
    {{run}} python -m nanobot.guide.generate
    {{run}} python -m nanobot.cli.helptext

# the WhatsApp bridge: strict types, and its tests
bridge:
    cd bridge && npm ci --ignore-scripts && npm test

# what things cost, as ratios to the bare libraries
bench:
    {{run}} python -W ignore::ResourceWarning -m tests.bench.provider_cost
    {{run}} python -W ignore::ResourceWarning -m tests.bench.turn_cost
    {{run}} python -m tests.bench.session_cost
    {{run}} python -W ignore::ResourceWarning -m tests.bench.prefix_share
    {{run}} python -m tests.bench.startup
    {{run}} python -W ignore::ResourceWarning -m tests.bench.gateway_cost
    {{run}} python -m tests.bench.child_cost
    {{run}} python -m tests.bench.sandbox_cost
    {{run}} python -m tests.bench.egress_cost
    {{run}} python -m tests.bench.channel_cost
    {{run}} python -W ignore::ResourceWarning -m tests.bench.parallel_calls

# the failures of the networks, ten of each sort: just failures telegram --times 10
failures network *arguments:
    {{run}} python -m tests.channels.{{network}}_failures {{arguments}}

# kills of the gateway under a network's traffic: just kills telegram --kills 100
kills network *arguments:
    {{run}} python -m tests.channels.{{network}}_kills {{arguments}}

# every sequence of a turn's events to depth five: two to three minutes; jobs in every zone over ten years: one
exhaustive:
    NANOBOT_TEST_DEEP=1 {{run}} pytest tests/session/test_machine_exhaustive.py tests/scheduler/test_zones.py

# kills while memory is being written: just memory --rounds 100
memory *arguments:
    {{run}} python -m tests.memory.kills {{arguments}}

# kills of the scheduler, with clocks that jump and jobs that are edited: just jobs --rounds 100
jobs *arguments:
    {{run}} python -m tests.scheduler.kills {{arguments}}

# the campaign that kills the real process at drawn moments: just crash --rounds 1000 --seed 7
crash *arguments:
    {{run}} python -m tests.crash.campaign {{arguments}}

# the campaign that stops bad commands and kills their owner: just stops --rounds 200 --kills 60
stops *arguments:
    {{run}} python -m tests.crash.stops {{arguments}}

# newest versions of everything into uv.lock
lock:
    uv lock --upgrade

# all that .ci/run does on a fresh machine
ci:
    .ci/run
