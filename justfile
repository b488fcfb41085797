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

# Other systems beside this one. Compiles them first, in a crate of their own.
rivals ROUNDS="40":
    cargo run --release --manifest-path benches/rivals/Cargo.toml -- --rounds {{ROUNDS}}
