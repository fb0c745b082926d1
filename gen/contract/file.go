package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Marshal returns the content of the file: JSON that begins with the version, maps sorted by key, one fact a line.
// It is the same for equal contracts.
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

// Unmarshal reads what Marshal returns. It refuses other versions of the format, unknown members and anything after
// the end, since a contract that is misread would pass for one that hasn't changed.
func Unmarshal(content []byte) (Contract, error) {
	// The version comes first: a newer format must be reported as such, not as the first member that is unknown here.
	var head struct {
		Version *int `json:"afgen"`
	}
	switch err := json.Unmarshal(content, &head); {
	case err != nil:
		return Contract{}, fmt.Errorf("contract: %w", err)
	case head.Version == nil:
		return Contract{}, errors.New(`contract: no member "afgen": not a contract file`)
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
		return Contract{}, errors.New("contract: something follows the contract")
	}
	return c, nil
}

// ClientPackages reads, from the content of a contract file of any version, which package it is of and into which
// packages client halves of that one go, sorted. What it can't read it leaves out.
func ClientPackages(content []byte) (pkg string, clients []string) {
	type half struct {
		Client string `json:"client"`
	}
	var c struct {
		Package  string          `json:"package"`
		Services map[string]half `json:"services"`
		Workers  map[string]half `json:"workers"`
	}
	_ = json.Unmarshal(content, &c) // an edited file says what it still can
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
