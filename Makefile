# FrameDB. `make help` lists what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCH_ARGS  ?=
E2E_ARGS    ?=
FUZZTIME    ?= 10s
N           ?= 5

export GOFLAGS := -buildvcs=false

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing: Redis and a C compiler, by the system's package manager
	@deploy/dev/setup.sh

.PHONY: build
build: ## Build bin/framedb
	go build -trimpath -ldflags "-X github.com/framedb/framedb/agent.version=$(VERSION)" -o bin/framedb ./agent/cmd/framedb

.PHONY: run
run: setup build ## Set up, build, start a dev agent, run the main job, leave the agent up
	@deploy/dev/run.sh

.PHONY: stop
stop: ## End the agent that `make run` left up, its Redis processes and its data
	@deploy/dev/stop.sh

.PHONY: cluster
cluster: setup build ## Run N=5 agents on this machine as one FrameDB, in the foreground: Ctrl-C ends all
	@exec deploy/dev/cluster.sh $(N)

.PHONY: test
test: setup ## Set up and run all tests with the race detector
	@go run ./client/objects/s3test/prepare
	go test -race -timeout 20m ./...

.PHONY: e2e
e2e: ## Run the tests on a real Kubernetes of three nodes on this machine (root; E2E_ARGS="-v -run TestScale")
	@deploy/e2e/run.sh $(E2E_ARGS)

.PHONY: lint
lint: ## Check formatting, go.mod, vet and staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	go mod tidy -diff
	go vet ./...
	go run $(STATICCHECK) ./...

.PHONY: bench
bench: setup build ## Measure: a table with ratios against named peers (BENCH_ARGS="-h" for its flags)
	@deploy/dev/setup-bench.sh
	go run ./client/bench $(BENCH_ARGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	@for pkg in $$(grep -rl --include='*_test.go' 'func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $$pkg | awk '{print $$2}'); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; done; done

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
