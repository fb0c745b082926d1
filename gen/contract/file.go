package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Marshal returns the content of a contract file: indented JSON that begins with the version. Equal contracts have
// equal content.
func Marshal(c Contract) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	return b.Bytes(), nil
}

// Unmarshal parses the content of a contract file. It returns an error for other versions, unknown members and trailing
// data, because otherwise breaking changes could go unnoticed.
func Unmarshal(content []byte) (Contract, error) {
	// Check the version first, because a newer format may have unknown members.
	var head struct {
		Version *int `json:"afgen"`
	}
	switch err := json.Unmarshal(content, &head); {
	case err != nil:
		return Contract{}, fmt.Errorf("contract: %w", err)
	case head.Version == nil:
		return Contract{}, errors.New(`contract: not a contract file: no member "afgen"`)
	case *head.Version != Version:
		return Contract{}, fmt.Errorf("contract: format version %d, this afgen reads %d", *head.Version, Version)
	}
	var c Contract
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Contract{}, fmt.Errorf("contract: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Contract{}, errors.New("contract: trailing data")
	}
	return c, nil
}

// ClientPackages returns the package of a contract file and the packages of its client halves, sorted. The file may
// have any version. Invalid parts are ignored.
func ClientPackages(content []byte) (pkg string, clients []string) {
	type half struct {
		Client string `json:"client"`
	}
	var c struct {
		Package  string          `json:"package"`
		Services map[string]half `json:"services"`
		Workers  map[string]half `json:"workers"`
	}
	_ = json.Unmarshal(content, &c) // the file may have been edited
	for _, halves := range []map[string]half{c.Services, c.Workers} {
		for _, h := range halves {
			if h.Client != "" {
				clients = append(clients, h.Client)
			}
		}
	}
	slices.Sort(clients)
	return c.Package, slices.Compact(clients)
}
