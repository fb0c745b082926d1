package presence

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	contractsPrefix = "contracts/" // of documents; followed by the service and a hash of its methods
	maxContracts    = 20           // per service
)

// A Contract is the document of a service's methods, shared by all instances with the same methods. Their documentation
// is that of the instance that was started last. Stored is used only for deleting old contracts.
type Contract struct {
	Methods json.RawMessage     `json:"methods"`
	Doc     string              `json:"doc,omitempty"`
	Args    map[string][]string `json:"args,omitempty"` // names of arguments by method
	Stored  time.Time           `json:"stored"`
}

// Contracts stores and reads contracts.
type Contracts struct {
	Docs backend.Docs // nil if the backend does not support documents
}

// Store stores a service's contract under the hash of its methods, unless it is stored already. With redescribe it also
// replaces one whose documentation differs.
func (c Contracts) Store(ctx context.Context, service, hash string, contract Contract, redescribe bool) error {
	name := contractName(service, hash)
	doc, err := c.Docs.Get(ctx, name)
	if missing := backend.CodeOf(err) == backend.ErrNotFound; !missing {
		if err != nil || !redescribe || sameDocs(doc.Value, contract) {
			return err
		}
	}
	contract.Stored = time.Now().UTC()
	value, err := json.Marshal(contract)
	if err != nil {
		return err
	}
	if _, err := c.Docs.PutIf(ctx, name, doc.Revision, value); err != nil {
		return unlessAborted(err) // another instance stored it first
	}
	return c.forget(ctx, service)
}

// sameDocs reports whether a stored contract has the documentation of another one with the same hash.
func sameDocs(stored json.RawMessage, contract Contract) bool {
	var c Contract
	return json.Unmarshal(stored, &c) == nil && c.Doc == contract.Doc && bytes.Equal(c.Methods, contract.Methods)
}

// forget deletes the oldest contracts of a service with many. An instance that still uses one stores it again.
func (c Contracts) forget(ctx context.Context, service string) error {
	docs, err := c.Docs.List(ctx, contractName(service, ""))
	if err != nil || len(docs) <= maxContracts {
		return err
	}
	stored := func(d backend.Doc) time.Time {
		var c Contract
		if json.Unmarshal(d.Value, &c) != nil {
			return time.Time{}
		}
		return c.Stored
	}
	slices.SortFunc(docs, func(a, b backend.Doc) int { return stored(a).Compare(stored(b)) })
	for _, d := range docs[:len(docs)-maxContracts] {
		if err := unlessAborted(c.Docs.Delete(ctx, d.Name, d.Revision)); err != nil {
			return err
		}
	}
	return nil
}

// Get returns a contract, or an empty one if it is not stored.
func (c Contracts) Get(ctx context.Context, service, hash string) (Contract, error) {
	if c.Docs == nil {
		return Contract{}, nil
	}
	name := contractName(service, hash)
	doc, err := c.Docs.Get(ctx, name)
	var contract Contract
	switch {
	case backend.CodeOf(err) == backend.ErrNotFound:
		return Contract{}, nil
	case err != nil:
		return Contract{}, backend.AsError(err)
	case json.Unmarshal(doc.Value, &contract) != nil:
		return Contract{}, undecoded(name)
	}
	return contract, nil
}

// MethodsOf decodes the methods of a contract. An empty contract has none.
func MethodsOf(service, hash string, c Contract) ([]backend.MethodInfo, error) {
	var methods []backend.MethodInfo
	if c.Methods != nil && json.Unmarshal(c.Methods, &methods) != nil {
		return nil, undecoded(contractName(service, hash))
	}
	return methods, nil
}

func undecoded(name string) error {
	return backend.Errorf(backend.ErrDataLoss, "decoding document %q failed", name)
}

func contractName(service, hash string) string { return contractsPrefix + service + "/" + hash }
