# `make` lists the targets.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Flags that vet and staticcheck share with build, so that PostgreSQL's parser is compiled for them once.
FLAGS    := -trimpath
FUZZTIME ?= 60s
STATEMENTS ?= 1000000
FUZZLIMIT  ?= 12h
ARGS     ?=

# PostgreSQL's parser is C.
export CGO_ENABLED := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps deps-test deps-all build demo test test-all lint bench fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## make sure of a C compiler, PostgreSQL's server programs and psql
	@scripts/deps

deps-test: ## also of nginx and rsyslog, for test
	@scripts/deps test

deps-all: ## also of PostGIS, the clients of other languages and PostgreSQL 18, for test-all
	@scripts/deps all

build: ## build bin/gatehouse
	go build $(FLAGS) -ldflags '-X main.version=$(VERSION)' -o bin/gatehouse ./cmd/gatehouse

demo: deps build ## a gateway with a database of its own, and a tour (ARGS="..." passes options)
	bin/gatehouse demo $(ARGS)

test: deps-test build ## everything that is quick, with the race detector
	go test -race -timeout 30m ./...

test-all: deps-all build ## the end-to-end tests at full length, and each fuzz target for 10s
	GATEHOUSE_TEST_ALL=1 go test -race -p 1 -timeout 60m ./test/... ./internal/record/... ./internal/ship ./internal/sqlguard/...
	scripts/fuzz 10s

lint: deps ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "not gofmt'ed (run gofmt -w on them):" && echo "$$files" && exit 1; fi
	go vet $(FLAGS) ./...
	GOFLAGS="$$GOFLAGS $(FLAGS)" go run $(STATICCHECK) ./...

bench: deps build ## measure what the gateway costs
	go run ./test/bench $(ARGS)

fuzz: deps ## each fuzz target for FUZZTIME (60s), then STATEMENTS (a million) generated statements, for FUZZLIMIT (12h) at most
	scripts/fuzz $(FUZZTIME)
	go test -v -timeout 0 ./test/canary -args -seed 0 -statements $(STATEMENTS) -for $(FUZZLIMIT)

clean: ## remove what was built
	rm -rf bin
