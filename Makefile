# The two commands of a new machine with Go, git and make are make demo and make test.
MAKEFLAGS += --no-print-directory
GO ?= go
# Flags for go test, such as TESTFLAGS=-count=3.
TESTFLAGS ?=
# How long make chaos and make chaos-servers take.
CHAOS ?= 3m

.PHONY: help demo test chaos chaos-servers lint bench bench-gen bench-servers generate stack stack-down demo-servers
help:
	@echo 'make demo      run the example services and their client'
	@echo 'make test      lint and all tests, with -race where there is a C compiler'
	@echo 'make chaos     kill, stop and restart processes that share a file, for CHAOS=3m, and check what became of their tasks'
	@echo 'make chaos-servers  the same over RabbitMQ, MongoDB and Redis, which are stopped, killed and cut off, too'
	@echo 'make lint      gofmt, go vet (also for darwin and windows), staticcheck, afgen check'
	@echo 'make bench     benchmarks of the runtime'
	@echo 'make bench-gen the table of docs/generator.md: the generator beside controller-gen, which it installs in a temporary folder'
	@echo 'make bench-servers  benchmarks over the servers, beside the bare drivers'
	@echo 'make generate  go generate ./...'
	@echo 'make demo-servers  the same over RabbitMQ, MongoDB and Redis, brought up as by make stack'
	@echo 'make stack     bring up RabbitMQ, Redis and a MongoDB for the tests of this checkout'
	@echo 'make stack-down  stop them'

demo:
	@GO="$(GO)" examples/demo

test: lint
	@GO='$(GO)' .ci/test $(TESTFLAGS)

chaos:
	@$(GO) test -v ./runtime/backend/embedded -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

chaos-servers:
	@$(GO) test -v ./runtime/backend/servers -run Chaos -chaos $(CHAOS) -timeout 0 $(TESTFLAGS)

lint:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; fi
	@$(GO) vet ./...
	@for os in darwin windows; do GOOS=$$os $(GO) vet ./runtime/... ./examples/... || exit 1; done
	@$(GO) tool staticcheck ./...
	@$(GO) tool afgen check ./...

bench:
	@$(GO) test -run '^$$' -bench . -benchmem -count 3 ./runtime/... ./examples/...

bench-gen:
	@$(GO) test -run '^$$' -bench Table -benchtime 1x -timeout 30m ./gen
	@$(GO) test -run '^$$' -bench . ./gen/manifest

bench-servers:
	@$(GO) test -run '^$$' -bench . -benchtime 2s ./runtime/backend/amqp
	@$(GO) test -v -run StoreOperations -bench . -benchtime 2000x ./runtime/backend/servers

generate:
	@$(GO) generate ./...

# The servers listen on loopback ports of their own. Tests start them, too; those stay up until stack-down.
stack:
	@$(GO) run ./internal/devstack/stack up

demo-servers:
	@GO="$(GO)" examples/demo-servers

stack-down:
	@$(GO) run ./internal/devstack/stack down
