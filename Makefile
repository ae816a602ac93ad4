# One command for each thing that people do here. Each target does its own set-up and says what is missing where it
# cannot. Nothing needs root; nothing is written outside this folder but Cargo's own cache.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check runtime docs build tools interop ci

# rustup puts Cargo there and asks for a new shell; this saves the new user that step.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Where contourd looks for ONNX Runtime; a library of your own can be named instead.
export ORT_DYLIB_PATH ?= $(CURDIR)/.runtime/libonnxruntime.so

RUST_MIN := $(shell sed -n 's/^rust-version = "\(.*\)".*/\1/p' Cargo.toml)

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'
	@echo
	@echo "  make demo INPUT=/folder    the same on your own CT series (DICOM files, any names)"

demo: runtime ## build, then watch a CT go in and a structure set come out, on loopback
	cargo build --locked --release
	@./target/release/contourd demo $(if $(INPUT),"$(INPUT)")

test: runtime ## build and run all tests
	cargo test --locked --no-fail-fast

check: tools ## formatting, lints and documentation, warnings refused (what CI asks for besides the tests)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not here (cargo install cargo-deny --locked); skipped"; fi

build: runtime ## build the release binary: target/release/contourd
	cargo build --locked --release

interop: build ## send real associations to and from DCMTK and Orthanc (installs them from apt where it may)
	integration/peers.sh

docs: tools ## build the documentation of the code: target/doc/contourd/index.html
	cargo doc --locked --no-deps
	@echo "open target/doc/contourd/index.html; the guides are in docs/"

runtime: tools ## fetch ONNX Runtime's shared library into .runtime (once, pinned by digest)
	@[ -f "$$ORT_DYLIB_PATH" ] && [ "$$ORT_DYLIB_PATH" != "$(CURDIR)/.runtime/libonnxruntime.so" ] \
	  || scripts/fetch-onnxruntime.sh

ci: ## everything that CI runs, in its order
	.ci/run

tools:
	@scripts/check-tools.sh $(RUST_MIN)
