# A machine with Go, git and make can run make demo and make test.
MAKEFLAGS += --no-print-directory
GO ?= go
# Flags for go test, such as TESTFLAGS=-run=Stop.
TESTFLAGS ?=
# How long make chaos and make chaos-servers take.
CHAOS ?= 3m
# What make bench-ab compares: two revisions (AFTER: by default the working tree), and which benchmarks.
BEFORE ?= HEAD
AFTER ?=
BENCH ?= .

tiers = GO='$(GO)' $(GO) run ./internal/tiers

.PHONY: help demo test test-all test-long test-rabbitmq4 chaos chaos-servers lint bench bench-ab bench-gen bench-servers \
  dependencies generate stack stack-down demo-servers
help:
	@echo 'make demo            run the example services and their client'
	@echo 'make test            the tests that need nothing but Go, with -race if there is a C compiler: at most 5 minutes'
	@echo 'make test-all        lint and all tests that CI runs, also over RabbitMQ, MongoDB and Redis: at most 15 minutes'
	@echo 'make test-long       the rest: long simulations, soak, elections, RabbitMQ 4, fuzzing; RECORD=1 writes the'
	@echo '                     result into docs/testing.md'
	@echo 'make test-rabbitmq4  the suites over RabbitMQ 4 and Redis 8, from a Debian 13 that it installs (root only)'
	@echo 'make chaos           kill, stop and restart processes that share a file, for CHAOS=3m, and check their tasks'
	@echo 'make chaos-servers   the same over RabbitMQ, MongoDB and Redis, which are stopped, killed and cut off as well'
	@echo 'make lint            gofmt, go vet, staticcheck, afgen check'
	@echo 'make bench           benchmarks of the runtime'
	@echo 'make bench-ab        benchmarks of BEFORE=HEAD and AFTER (the working tree), run alternately; BENCH is a regexp'
	@echo 'make bench-gen       the table of docs/generator.md: the generator beside controller-gen, which it installs'
	@echo 'make bench-servers   benchmarks over the servers, beside the bare drivers'
	@echo 'make dependencies    check that dependencies are current and have no known vulnerabilities'
	@echo 'make generate        go generate ./...'
	@echo 'make demo-servers    make demo over RabbitMQ, MongoDB and Redis, brought up as by make stack'
	@echo 'make stack           bring up RabbitMQ, Redis and MongoDB for the tests of this checkout'
	@echo 'make stack-down      stop them'

demo:
	@GO="$(GO)" examples/demo

test:
	@$(tiers) test $(TESTFLAGS)

test-all:
	@$(tiers) all $(TESTFLAGS)

test-long:
	@$(tiers) $(if $(RECORD),-record docs/testing.md) long $(TESTFLAGS)

test-rabbitmq4:
	@AF_TEST_ROOT=$$(internal/devstack/debian-root) && export AF_TEST_ROOT && $(tiers) rabbitmq4 $(TESTFLAGS)

chaos:
	@$(GO) test -v ./runtime/backend/embedded -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

chaos-servers:
	@$(GO) test -v ./runtime/backend/servers -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

# That the code compiles for other systems is a test (internal/archtest); make test-long runs go vet for them.
lint:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; fi
	@$(GO) vet ./...
	@$(GO) tool staticcheck ./...
	@$(GO) tool afgen check ./...
	@$(GO) vet -tags long ./internal/devstack/... ./runtime/backend/...
	@cd bench && $(GO) vet ./... && $(GO) tool -modfile=../go.mod staticcheck ./... && $(GO) mod tidy -diff

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

# It asks the module proxy and the vulnerability database.
dependencies:
	@$(GO) run ./internal/dependencies

generate:
	@$(GO) generate ./...

# The servers listen on loopback ports of their own. Tests start them as well; those run until stack-down.
stack:
	@$(GO) run ./internal/devstack/stack up

demo-servers:
	@GO="$(GO)" examples/demo-servers

stack-down:
	@$(GO) run ./internal/devstack/stack down
