# make demo and make test need Go, git and make.
MAKEFLAGS += --no-print-directory
GO ?= go
# Flags for go test, such as TESTFLAGS=-run=Stop.
TESTFLAGS ?=
# How long make chaos and make chaos-servers run.
CHAOS ?= 3m
# What make bench-ab compares: two revisions (AFTER is the working tree by default), and which benchmarks.
BEFORE ?= HEAD
AFTER ?=
BENCH ?= .
# Which rows make bench-peers measures, a regexp, and in how many rounds. BEFORE adds afgen at that revision.
ROWS ?=
ROUNDS ?= 3
# The version that make release builds, by default any: that of the tag of HEAD, or a pseudo-version. make release-check
# checks it, by default the latest tag.
VERSION ?=

tiers = GO='$(GO)' $(GO) run ./internal/tiers

.PHONY: help demo test test-all test-long test-rabbitmq4 chaos chaos-servers lint bench bench-ab bench-gen bench-servers bench-peers \
  dependencies generate release release-check stack stack-down demo-servers demo-ui \
  screenshots
help:
	@echo 'make demo            run the example services and their client'
	@echo 'make demo-ui         run the example services with their dashboard, and clients, until Ctrl-C'
	@echo 'make test            tests that need only Go, with -race if there is a C compiler: at most 5 minutes'
	@echo 'make test-all        what CI runs: lint and all tests, also over RabbitMQ, MongoDB and Redis and in'
	@echo '                     a browser: at most 15 minutes'
	@echo 'make test-long       long simulations, soak, elections, RabbitMQ 4, fuzzing; RECORD=1 writes the result'
	@echo '                     into docs/developing.md'
	@echo 'make test-rabbitmq4  the suites over RabbitMQ 4 and Redis 8, in a Debian 13 that it installs (root only)'
	@echo 'make chaos           kill, stop and restart processes that share a file, for CHAOS=3m, and verify their tasks'
	@echo 'make chaos-servers   the same over RabbitMQ, MongoDB and Redis; these are stopped, killed and partitioned too'
	@echo 'make lint            gofmt, go vet, staticcheck, afgen check, and the list of words to avoid'
	@echo 'make bench           benchmarks of the runtime'
	@echo 'make bench-ab        benchmarks of BEFORE=HEAD and AFTER (the working tree), run alternately; BENCH is a regexp'
	@echo 'make bench-gen       the table of docs/generator.md: compares with controller-gen, which it installs'
	@echo 'make bench-servers   benchmarks over the servers, and of the drivers alone'
	@echo 'make bench-peers     the table of docs/benchmarks.md: next to asynq, River, gRPC and the bare drivers; ROWS, ROUNDS,'
	@echo '                     BEFORE; RECORD=1 writes it into the document'
	@echo 'make dependencies    check that dependencies are current and have no known vulnerabilities'
	@echo 'make generate        go generate ./...'
	@echo 'make screenshots     take the pictures of the dashboard in docs/screenshots; needs Chromium'
	@echo 'make release         build archives of the commands at HEAD for all platforms, and SHA256SUMS, into dist/'
	@echo 'make release-check   check that otel and metrics require VERSION of the root module, by default its latest tag'
	@echo 'make demo-servers    make demo over RabbitMQ, MongoDB and Redis, which it starts'
	@echo 'make stack           start RabbitMQ, Redis and MongoDB for the tests of this checkout'
	@echo 'make stack-down      stop them'

demo:
	@GO="$(GO)" examples/demo

demo-ui:
	@GO="$(GO)" examples/demo-ui

test:
	@$(tiers) test $(TESTFLAGS)

test-all:
	@$(tiers) all $(TESTFLAGS)

test-long:
	@$(tiers) $(if $(RECORD),-record docs/developing.md) long $(TESTFLAGS)

test-rabbitmq4:
	@AF_TEST_ROOT=$$(internal/devstack/debian-root) && export AF_TEST_ROOT && $(tiers) rabbitmq4 $(TESTFLAGS)

chaos:
	@$(GO) test -v ./runtime/backend/embedded -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

chaos-servers:
	@$(GO) test -v ./runtime/backend/servers -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

# A test (internal/archtest) type-checks the code for other systems; make test-long runs go vet for them.
lint:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; fi
	@$(GO) vet ./...
	@$(GO) tool staticcheck ./...
	@$(GO) tool afgen check ./...
	@$(GO) run ./internal/wordlist
	@$(GO) vet -tags long ./internal/devstack/... ./runtime/backend/...
	@cd bench && $(GO) vet ./... && $(GO) tool -modfile=../go.mod staticcheck ./... && $(GO) mod tidy -diff
	@cd internal/browser && $(GO) vet ./... && $(GO) tool -modfile=../../go.mod staticcheck ./... && $(GO) mod tidy -diff
	@cd internal/scrape && $(GO) vet ./... && $(GO) tool -modfile=../../go.mod staticcheck ./... && $(GO) mod tidy -diff
	@cd metrics && $(GO) vet ./... && $(GO) tool -modfile=../go.mod staticcheck ./... && $(GO) mod tidy -diff
	@cd otel && $(GO) vet ./... && $(GO) tool -modfile=../go.mod staticcheck ./... && $(GO) mod tidy -diff
	@cd otel/examples && $(GO) vet ./... && $(GO) tool -modfile=../../go.mod staticcheck ./... && $(GO) mod tidy -diff && \
	  $(GO) tool afgen check ./...

bench:
	@$(GO) test -run '^$$' -bench . -benchmem -count 3 ./runtime/... ./examples/...

bench-ab:
	@cd bench && $(GO) run ./ab -before '$(BEFORE)' $(if $(AFTER),-after '$(AFTER)') -bench '$(BENCH)'

bench-gen:
	@$(GO) test -run '^$$' -bench Table -benchtime 1x -timeout 30m ./gen
	@$(GO) test -run '^$$' -bench . ./gen/manifest

bench-servers:
	@$(GO) test -run '^$$' -bench . -benchtime 2s ./runtime/backend/amqp
	@$(GO) test -v -run StoreOperations -bench . -benchtime 2000x ./runtime/backend/servers

# BEFORE counts only if it is given: it has another default for bench-ab.
bench-peers:
	@cd bench && $(GO) run ./peers -rows '$(ROWS)' -rounds $(ROUNDS) \
	  $(if $(filter-out file,$(origin BEFORE)),-before '$(BEFORE)') $(if $(RECORD),-record ../docs/benchmarks.md)

# This needs the module proxy and the vulnerability database.
dependencies:
	@$(GO) run ./internal/dependencies

generate:
	@$(GO) generate ./...
	@cd otel/examples && $(GO) generate ./...

# The system on the pictures, and its time, are fixed. Fonts are those of this machine.
screenshots:
	@cd internal/browser && $(GO) run ./screenshots -out ../../docs/screenshots

# This builds a clone of HEAD, so uncommitted changes have no effect.
release:
	@$(GO) run ./internal/release $(if $(VERSION),-version '$(VERSION)')

release-check:
	@$(GO) run ./internal/release -check $(if $(VERSION),-version '$(VERSION)')

# The servers listen on free loopback ports and run until stack-down. Tests use them, or start them themselves.
stack:
	@$(GO) run ./internal/devstack/stack up

demo-servers:
	@GO="$(GO)" examples/demo-servers

stack-down:
	@$(GO) run ./internal/devstack/stack down
