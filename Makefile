# Stoa. `make` alone shows what there is to make.
#
# Needs Go 1.26 and make, nothing else: the product builds without C, its tools are built once from the versions pinned
# in tools/go.mod into the user's cache, and the race detector is used where a C compiler is at hand.

SHELL := /bin/sh
.DEFAULT_GOAL := help

GO        ?= go
GO_NEEDS  := 1.26
BIN       ?= bin
STAY      ?= 0
DEMO_ARGS ?=
FUZZTIME  ?= 10s
BENCH_ARGS ?=
TIMEOUT   ?= 10m
PREFIX    ?= $(HOME)/.local

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/stoaproject/stoa/cli.version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# The tools live outside the tree, one directory for each state of tools/go.sum, so that a second run is quick and two
# checkouts share them.
CACHE      := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
TOOLS_HASH := $(shell cksum tools/go.mod tools/go.sum | cksum | cut -d' ' -f1)
TOOLS      := $(CACHE)/stoa/tools/$(TOOLS_HASH)
LINT       := $(TOOLS)/golangci-lint
VULNCHECK  := $(TOOLS)/govulncheck

.PHONY: help
help: ## Show this list
	@echo 'Stoa: run AI workloads that are well architected, and prove it.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make demo STAY=1   leaves the demo serving when it ends'

.PHONY: check-go
check-go:
	@command -v $(GO) >/dev/null 2>&1 || { \
	  echo 'Stoa needs Go $(GO_NEEDS) or newer, and no "$(GO)" is on the PATH.'; \
	  echo 'Get it from https://go.dev/dl/, or name it: make GO=/path/to/go'; exit 1; }
	@$(GO) version | awk '{ v = $$3; sub(/^go/, "", v); split(v, a, /[.a-z-]/); \
	  if (a[1] + 0 < 1 || (a[1] + 0 == 1 && a[2] + 0 < 26)) { \
	    print "Stoa needs Go $(GO_NEEDS) or newer; this is " v "."; \
	    print "Get it from https://go.dev/dl/, or let Go fetch it: export GOTOOLCHAIN=auto"; exit 1 } }'

.PHONY: build
build: check-go ## Build bin/stoa, one static binary
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/stoa ./cmd/stoa

.PHONY: install
install: build ## Copy stoa to PREFIX/bin (default ~/.local/bin)
	@mkdir -p '$(PREFIX)/bin'
	cp $(BIN)/stoa '$(PREFIX)/bin/stoa'

.PHONY: demo
demo: build ## Do the main job on real data: serve, fall back, notice decay, retrain, roll out
	@$(BUILD) -o $(BIN)/replay ./examples/electricity/replay
	@$(BIN)/replay --stoa $(BIN)/stoa $(if $(filter 1 yes true,$(STAY)),--stay) $(DEMO_ARGS)

.PHONY: test
test: check-go ## Run vet, lint, the walls and all tests with the race detector
	@tools/check vet lint walls race postgres mlflow

.PHONY: test-long
test-long: check-go ## Run everything: test, the long tests, a short fuzz of every target, known vulnerabilities
	@tools/check vet lint walls long postgres mlflow-long fuzz vuln

.PHONY: test-postgres
test-postgres: check-go ## Run the suites of all that keeps data on a private PostgreSQL too (skips when there is none)
	@tools/check postgres

.PHONY: test-mlflow
test-mlflow: check-go ## Run the stock clients of MLflow, and replay its requests on both servers (skips without Python)
	@tools/check mlflow

.PHONY: vet
vet: check-go
	@tools/check vet

.PHONY: walls
walls: check-go ## Check the walls and budgets of the house (a few seconds)
	@tools/check walls

.PHONY: lint
lint: check-go ## Run golangci-lint, built on first use from tools/go.mod
	@tools/check lint

.PHONY: vuln
vuln: check-go ## Look for known vulnerabilities in what the binary calls (skips when offline)
	@tools/check vuln

.PHONY: fuzz
fuzz: check-go ## Fuzz every target for FUZZTIME (default 10s) each
	@tools/check fuzz

.PHONY: fmt
fmt: check-go $(LINT) ## Format the Go sources
	@$(LINT) fmt

.PHONY: generate
generate: check-go ## Regenerate the workload file's JSON Schema
	$(GO) test ./manifest -run Schema -update

.PHONY: bench
bench: build ## Measure against the peers: ONNX Runtime, LightGBM, a bare reverse proxy
	@tools/check bench

.PHONY: bench-registry
bench-registry: check-go ## Measure the tracking and the registry beside mlflow server (BENCH_ARGS='--artifact-mb 5000')
	@bench/mlflow/run.sh $(BENCH_ARGS)

.PHONY: plots
plots: check-go ## Draw the plots in docs/ from the committed results
	$(GO) run ./examples/electricity/plot bench/results/demo.json docs/demo.svg

.PHONY: deps-size
deps-size: check-go ## Show what each dependency adds to the binary
	@tools/check deps-size

.PHONY: clean
clean: ## Remove what was built here (the tools in the cache stay)
	rm -rf $(BIN) dist coverage.out .demo

# The tools, from the pinned versions. Other goals reach them by these names.
$(LINT) $(VULNCHECK): tools/go.mod tools/go.sum
	@echo "building the pinned tools into $(TOOLS) (once; about two minutes)"
	@mkdir -p '$(TOOLS)'
	@cd tools && GOFLAGS= GOBIN='$(TOOLS)' $(GO) install -trimpath tool
	@touch '$(LINT)' '$(VULNCHECK)'

.PHONY: tools
tools: $(LINT) $(VULNCHECK)

export GO TOOLS TIMEOUT FUZZTIME
