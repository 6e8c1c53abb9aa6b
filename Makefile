# Everything a newcomer types. `make help` lists it.
SHELL := /bin/sh
.DEFAULT_GOAL := help

BIN      := $(CURDIR)/.bin
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT  := mvdan.cc/gofumpt@v0.12.0

.PHONY: help build dist test demo check fmt lint vet bench crash tools clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build ./keyturn and ./keyturn-lab
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o keyturn ./cmd/keyturn
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o keyturn-lab ./cmd/keyturn-lab

dist: ## Build the program for every system into dist, and check it
	@for target in linux/amd64 linux/arm64 windows/amd64 windows/arm64 darwin/amd64 darwin/arm64; do \
		os=$${target%/*} arch=$${target#*/} end=; \
		if [ $$os = windows ]; then end=.exe; fi; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o dist/keyturn-$$os-$$arch$$end ./cmd/keyturn || exit 1; \
	done
	KEYTURN_DIST=$(CURDIR)/dist go test -count=1 -run TestDistribution -v ./cmd/keyturn

test: ## Run all tests
	go test -race ./...

demo: build ## Rotate a service account on practice machines, for real
	@./testdata/demo.sh

check: fmt vet lint test ## All that must be green before a commit

fmt: tools ## Format the code
	$(BIN)/gofumpt -l -w cmd commands pkg vault

lint: tools ## Run the linters
	$(BIN)/golangci-lint run ./...

vet: ## go vet for linux, windows and darwin
	go vet ./...
	CGO_ENABLED=0 GOOS=windows go vet ./...
	CGO_ENABLED=0 GOOS=darwin go vet ./...

bench: ## Measure speed and size
	go test -run '^$$' -bench . -benchmem -timeout 60m ./...

crash: ## Kill commands at every system call that changes the vault
	@test -n "$(CRASHAT)" || { echo "CRASHAT names no program that kills a command at its n-th system call: see cmd/keyturn/crash_test.go" >&2; exit 1; }
	CRASHAT="$(CRASHAT)" go test -count=1 -timeout 60m -run TestCrashes -v ./cmd/keyturn

tools: $(BIN)/golangci-lint $(BIN)/gofumpt ## Install the linters into .bin

$(BIN)/golangci-lint:
	GOBIN=$(BIN) GOFLAGS= go install $(LINT)

$(BIN)/gofumpt:
	GOBIN=$(BIN) GOFLAGS= go install $(GOFUMPT)

clean: ## Remove what was built
	rm -rf keyturn keyturn-lab dist .bin .demo
