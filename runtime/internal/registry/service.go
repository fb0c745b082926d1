package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/presence"
)

// A Service is a service that this App serves, with its description for other instances.
type Service struct {
	Name        string
	Concurrency int
	Load        Load

	hash     string // of contract
	contract presence.Contract
}

// NewService describes a service. args has the names of the arguments by method, without methods whose arguments are
// unknown. The hash of the contract does not depend on the documentation: a change of a comment is no new contract.
func NewService(
	name, doc string, concurrency int, methods []backend.MethodInfo, args map[string][]string, log *slog.Logger,
) *Service {
	encode := func(what string, v any) []byte {
		b, err := json.Marshal(v)
		if err != nil { // strings and a bool
			log.Error("encoding a contract failed", "service", name, "part", what, "error", err)
		}
		return b
	}
	plain := slices.Clone(methods)
	for i := range plain {
		plain[i].Doc = ""
	}
	sum := sha256.Sum256(append(encode("arguments", args), encode("methods", plain)...))
	return &Service{
		Name: name, Concurrency: concurrency, hash: hex.EncodeToString(sum[:8]),
		contract: presence.Contract{Doc: doc, Methods: encode("methods", methods), Args: args},
	}
}

// A Load counts the calls of a service.
type Load struct{ inFlight, calls, errors atomic.Int64 }

// Begin counts a call that begins.
func (l *Load) Begin() {
	l.inFlight.Add(1)
	l.calls.Add(1)
}

// End counts the end of a call with the result err.
func (l *Load) End(err error) {
	l.inFlight.Add(-1)
	if err != nil {
		l.errors.Add(1)
	}
}

// InFlight returns the number of calls that have begun and not ended.
func (l *Load) InFlight() int64 { return l.inFlight.Load() }
