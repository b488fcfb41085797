# The tasks of this project. `just` lists them.

default:
    @just --list

# All that CI checks.
check:
    .ci/run

# Kills clients at random for SECONDS, then audits.
torture SECONDS="600":
    SHAREHOLD_TORTURE_SECONDS={{SECONDS}} cargo test --release --test torture -- --nocapture

# The same with a mistake in the protocol: it must fail, with a wrong byte.
planted SECONDS="30":
    #!/usr/bin/env bash
    set -uo pipefail
    out=$(SHAREHOLD_TORTURE_SECONDS={{SECONDS}} cargo test --features planted-bug --test torture -- --nocapture clients_leave 2>&1) && { echo "$out"; echo "the planted mistake was not found"; exit 1; }
    grep -m1 CANARY <<<"$out" || { echo "$out"; echo "it failed for another reason"; exit 1; }

# Kills clients and brokers at every single instruction of what they do, not only where others see something else. Takes an hour and more; WHAT picks one, as `redeem` or `a_broker::sweeps`.
steps WHAT="":
    SHAREHOLD_STEPS=all cargo test --test steps -- --nocapture {{WHAT}}

# The benchmarks, each beside its floor.
bench:
    cargo bench --bench core --bench calls --bench strangers --bench handover

# How many instructions the hot paths take, beside the committed figures; `just instructions --bless` renews these. Needs valgrind.
instructions *ARGS:
    cargo bench --no-default-features --bench instructions -- {{ARGS}}

# The exhaustive model of the counting protocol.
model:
    cargo test --release --test model

# Other systems beside this one: `just rivals`, `just rivals --list`, `just rivals --quick --only call`. Compiles them first, in a crate of their own.
rivals *ARGS:
    cargo run --release --manifest-path benches/rivals/Cargo.toml -- {{ARGS}}

# The Python package: its wheel in a fresh environment, and its tests.
python:
    ffi/python/check.sh

# Installs the C library: `just install PREFIX=/usr/local`.
install PREFIX="/usr/local":
    ffi/install/install.sh {{quote(PREFIX)}}

# Fuzzes all that reads foreign bytes, SECONDS each; sanitizers; rules for dependencies.
tools SECONDS="60":
    .ci/tools {{SECONDS}}

# The licences, sources and versions of what this depends on.
deny:
    cargo deny check bans licenses sources
