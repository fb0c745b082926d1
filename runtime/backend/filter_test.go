package backend_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

func payloadMatches(payload, path, value string) bool {
	f := backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: path, Value: value}}}
	return f.Matches(&backend.Task{Payload: json.RawMessage(payload)})
}

func TestPayloadMatch(t *testing.T) {
	const order = ` { "user" : { "id" : 7 , "name" : "A \"B\"" } ,
		"items" : [ { "sku" : "x" } , { "sku" : "y" , "tags" : [ "a" , "b" ] } ] ,
		"paid" : false, "note" : null, "total" : 1.50e1, "0" : "zero", "a.b" : 1, "caf\u00e9" : "\u00fc",
		"twice" : 1, "twice" : 2, "" : {"" : "empty"} } `
	for _, c := range []struct {
		path, value string
		want        bool
	}{
		{"user.id", "7", true},
		{"user.id", " 7 ", true},
		{"user.id", "7.0", false}, // numbers are compared as they are written
		{"user.id", `"7"`, false},
		{"user.name", `A "B"`, true},
		{"user.name", `"A \"B\""`, false},
		{"user.name.x", "", false},
		{"user", `{"id":7,"name":"A \"B\""}`, true},
		{"user", ` { "id" : 7, "name" : "A \"B\"" }`, true},
		{"user", `{"id":7`, false},
		{"items.0.sku", "x", true},
		{"items.1.sku", "y", true},
		{"items.2.sku", "y", false},
		{"items.-1.sku", "y", false},
		{"items.+1.sku", "y", false},
		{"items.99999999999999999999.sku", "y", false},
		{"items.sku", "x", false},
		{"items.1.tags", `["a", "b"]`, true},
		{"items.1.tags.1", "b", true},
		{"paid", "false", true},
		{"paid", "", false},
		{"note", "null", true},
		{"total", "1.50e1", true},
		{"0", "zero", true},
		{"a.b", "1", false},
		{"café", "ü", true},
		{"twice", "1", true},
		{"twice", "2", false},
		{"missing", "null", false},
		{".", "empty", true},
	} {
		if got := payloadMatches(order, c.path, c.value); got != c.want {
			t.Errorf("%s = %s: %v, want %v", c.path, c.value, got, c.want)
		}
	}
	for _, payload := range []string{"", " ", "null", "7", `"text"`, "[]", "{}", `{"a"`, `{"a":1}}`, `{"a":1`, "\xff",
		`{"a":"`, strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)} {
		for _, path := range []string{"a", "0", "a.0", "."} {
			if payloadMatches(payload, path, "1") {
				t.Errorf("%.20q matches %s", payload, path)
			}
		}
	}
	if !payloadMatches("[1]", "0", "1") {
		t.Error("an array at the top doesn't match")
	}
}

// The largest payload is read about once, however deep the path leads into it.
func TestPayloadMatchOfLargePayload(t *testing.T) {
	const size, depth = 4 << 20, 500
	fill := strings.Repeat("x", size/depth/2)
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, `{"fill%d":%q,"n":`, i, fill)
	}
	b.WriteString(`"deep"`)
	for range depth {
		fmt.Fprintf(&b, `,"after":%q}`, fill)
	}
	payload, path := b.String(), strings.Repeat("n.", depth-1)+"n"
	if len(payload) < size*9/10 {
		t.Fatalf("%d bytes", len(payload))
	}
	if !payloadMatches(payload, path, "deep") || payloadMatches(payload, path+".n", "deep") ||
		payloadMatches(payload, path, "other") {
		t.Error("the value at the end of the path is wrong")
	}
	allocs := testing.AllocsPerRun(3, func() { payloadMatches(payload, path, "deep") })
	if allocs > depth/10 { // about 10; more if a garbage collection empties the pools of encoding/json meanwhile
		t.Errorf("%v allocations", allocs)
	}
}

func TestFilterMatches(t *testing.T) {
	task := backend.Task{ID: "user/1", Instance: "i", UniqueKey: "k", RetryOf: "r", Payload: json.RawMessage(`{"a":1}`),
		Error: &backend.TaskError{Message: "ÜBER limit"}}
	for _, c := range []struct {
		f    backend.TaskFilter
		want bool
	}{
		{backend.TaskFilter{}, true},
		{backend.TaskFilter{Text: "über LIMIT"}, true},
		{backend.TaskFilter{Text: "under"}, false},
		{backend.TaskFilter{Instance: "i"}, true},
		{backend.TaskFilter{Instance: "j"}, false},
		{backend.TaskFilter{UniqueKey: "k"}, true},
		{backend.TaskFilter{UniqueKey: "K"}, false},
		{backend.TaskFilter{RetryOf: "r"}, true},
		{backend.TaskFilter{RetryOf: "s"}, false},
		{backend.TaskFilter{IDPrefix: "user/"}, true},
		{backend.TaskFilter{IDPrefix: "user/11"}, false},
		{backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: "a", Value: "1"}}}, true},
		{backend.TaskFilter{Payload: []backend.PayloadMatch{{Path: "a", Value: "1"}, {Path: "b", Value: "1"}}}, false},
		{backend.TaskFilter{Text: "limit", Instance: "i", UniqueKey: "k", RetryOf: "r", IDPrefix: "u",
			Payload: []backend.PayloadMatch{{Path: "a", Value: "1"}}}, true},
	} {
		if got := c.f.Matches(&task); got != c.want {
			t.Errorf("%+v: %v, want %v", c.f, got, c.want)
		}
		if c.f.IsZero() != (c.want && c.f.Text+c.f.Instance+c.f.UniqueKey+c.f.RetryOf+c.f.IDPrefix == "" &&
			c.f.Payload == nil) {
			t.Errorf("%+v: is zero: %v", c.f, c.f.IsZero())
		}
	}
	if (&backend.TaskFilter{Text: "x"}).Matches(&backend.Task{}) {
		t.Error("a task without an error has a text")
	}
}

// A path leads to the same value as decoding one object or array after the other.
func FuzzPayloadMatch(f *testing.F) {
	for _, c := range [][3]string{
		{`{"a":{"b":[1,{"c":"x"}]}}`, "a.b.1.c", "x"}, {`{"a":1,"a":2}`, "a", "1"}, {`{"\u0061":null}`, "a", "null"},
		{`[[],{},"",0]`, "2", ""}, {`{"a":"\"}]"}`, "a", `"}]`}, {`{"a" : [ 1 , 2 ] }`, "a", "[1,2]"}, {`{"a":`, "a", ""},
		{"{\"\xff\":1}", "\xff", "1"}, {`{"":{"":0}}`, ".", "0"}, {`"a"`, "a", "a"},
	} {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, payload, path, value string) {
		want := json.Valid([]byte(payload)) && decodedIs([]byte(payload), strings.Split(path, "."), value)
		if got := payloadMatches(payload, path, value); got != want {
			t.Errorf("%q at %q is %q: %v, want %v", payload, path, value, got, want)
		}
	})
}

// decodedIs decodes valid JSON along a path, and compares the value at its end.
func decodedIs(payload []byte, path []string, value string) bool {
	if len(path) > 0 {
		d := json.NewDecoder(bytes.NewReader(payload))
		open, _ := d.Token()
		for n := 0; open == json.Delim('{') || open == json.Delim('['); n++ {
			if !d.More() {
				return false
			}
			name := fmt.Sprint(n)
			if open == json.Delim('{') {
				key, _ := d.Token()
				name = key.(string)
			}
			var raw json.RawMessage
			if d.Decode(&raw) != nil {
				return false
			}
			index, err := strconv.ParseUint(path[0], 10, 32)
			if name == path[0] || open == json.Delim('[') && err == nil && index == uint64(n) {
				return decodedIs(raw, path[1:], value)
			}
		}
		return false
	}
	payload = bytes.TrimSpace(payload)
	var text string
	if payload[0] == '"' {
		return json.Unmarshal(payload, &text) == nil && text == value
	}
	if payload[0] != '{' && payload[0] != '[' {
		return string(payload) == strings.TrimSpace(value)
	}
	var a, b bytes.Buffer
	return json.Compact(&a, payload) == nil && json.Compact(&b, []byte(value)) == nil && a.String() == b.String()
}
