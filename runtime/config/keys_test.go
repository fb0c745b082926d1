package config_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/config"
)

// leaves returns the paths of all fields below t except structs of this package, as key names without underscores:
// MongoDB.TLS.CAFile is mongodb.tls.cafile.
func leaves(t reflect.Type, path string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Map {
		return leaves(t.Elem(), strings.TrimSuffix(path, "Queues")+"QUEUE")
	}
	if t.Kind() != reflect.Struct {
		return []string{strings.ToLower(path)}
	}
	var all []string
	for f := range t.Fields() {
		all = append(all, leaves(f.Type, strings.TrimPrefix(path+"."+f.Name, "."))...)
	}
	return all
}

func TestKeysCoverEveryField(t *testing.T) {
	var named []string
	for _, k := range config.Keys() {
		if k.Type != "mapping" {
			named = append(named, strings.ToLower(strings.ReplaceAll(k.Name, "_", "")))
		}
	}
	named = append(named, "root", "file") // not keys: where the file is
	slices.Sort(named)
	equal(t, named, slices.Sorted(slices.Values(leaves(reflect.TypeFor[config.Config](), ""))))
}

func TestKeyDocsFitATable(t *testing.T) {
	seen := map[string]string{"": "mapping"}
	for _, k := range config.Keys() {
		if seen[k.Name] != "" {
			t.Errorf("%s is there twice", k.Name)
		}
		parent, _, _ := cutLast(k.Name)
		if seen[parent] != "mapping" {
			t.Errorf("%s comes before its mapping", k.Name)
		}
		seen[k.Name] = k.Type
		if k.Doc == "" || strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: %q is no documentation", k.Name, k.Doc)
		}
		if strings.ContainsAny(k.Name+k.Type+k.Default+k.Doc, "|\n`") {
			t.Errorf("%s would break a Markdown table", k.Name)
		}
	}
}

func cutLast(name string) (parent, last string, found bool) {
	i := strings.LastIndex(name, ".")
	return name[:max(i, 0)], name[i+1:], i >= 0
}

// Writing a key with its documented default changes nothing, and every default is valid.
func TestDocumentedDefaultsApply(t *testing.T) {
	base := map[string]string{"mongodb": "", "redis": "", "rabbitmq": "", "dashboard": ""}
	file := func(name, value string) string {
		sections := maps.Clone(base)
		path := strings.Split(name, ".")
		body := "{" + strings.Join(path[1:], ": {") + ": '" + value + "'" + strings.Repeat("}", len(path)-1)
		sections[path[0]] = body
		var b strings.Builder
		for s, body := range sections {
			b.WriteString(s + ": " + body + "\n")
		}
		return b.String()
	}
	want := parse(t, "mongodb:\nredis:\nrabbitmq:\ndashboard:\n", nil)
	for _, k := range config.Keys() {
		if k.Type == "mapping" || k.Default == "" && k.Type != "text" {
			continue
		}
		t.Run(k.Name, func(t *testing.T) { equal(t, parse(t, file(k.Name, k.Default), nil), want) })
	}
}

func TestKeysBelongToTheCaller(t *testing.T) {
	config.Keys()[0].Name = "changed"
	if got := config.Keys()[0].Name; got != "mongodb" {
		t.Errorf("a caller changed the table to %q", got)
	}
}
