# The tasks of this project. `just` lists them.

default:
    @just --list

# All that CI checks.
check:
    .ci/run

# Kills clients at random for SECONDS, then audits.
torture SECONDS="600":
    SHAREHOLD_TORTURE_SECONDS={{SECONDS}} cargo test --release --test torture -- --nocapture

# The benchmarks, each beside its floor.
bench:
    cargo bench --bench core --bench calls

# The exhaustive model of the counting protocol.
model:
    cargo test --release --test model
