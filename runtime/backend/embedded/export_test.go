package embedded

import (
	"fmt"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

// Checked makes the file refuse a transition that the state table doesn't list, and one of a task that has ended.
func Checked() Option {
	var pairs []string
	for _, from := range backend.Statuses() {
		for _, to := range backend.Statuses() {
			if from != to && backend.Allowed(from, to) {
				pairs = append(pairs, fmt.Sprintf("(%d, %d)", number(from), number(to)))
			}
		}
	}
	return func(o *options) {
		o.also += `;CREATE TEMP TRIGGER checked BEFORE UPDATE OF status ON task
			WHEN old.status <> new.status AND (old.status, new.status) NOT IN (VALUES ` + strings.Join(pairs, ", ") + `)
			BEGIN SELECT raise(ABORT, 'the state table has no such transition'); END`
	}
}

// Loopback makes peers meet over TCP, as where there are no unix sockets.
func Loopback() Option { return func(o *options) { o.loopback = true } }

// OnNetwork takes the file system for a network's.
func OnNetwork(kind string) Option {
	return func(o *options) { o.fileSystem = func(string) (string, error) { return kind, nil } }
}

// AsUser opens the file as another user.
func AsUser(euid int) Option { return func(o *options) { o.euid = euid } }

// Steps replaces the schema's history.
func Steps(change func([]string) []string) Option {
	return func(o *options) { o.steps = change(o.steps) }
}

// MostPages is a disk of so many pages of 4 kB.
func MostPages(n int) Option {
	return func(o *options) { o.pragmas = append(o.pragmas, fmt.Sprintf("PRAGMA max_page_count(%d)", n)) }
}
