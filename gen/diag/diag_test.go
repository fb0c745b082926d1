package diag_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
)

func at(file string, line, column int, code diag.Code, message string) diag.Diagnostic {
	return diag.Diagnostic{Code: code, Pos: diag.Pos{File: file, Line: line, Column: column}, Width: 1, Message: message}
}

func TestSort(t *testing.T) {
	want := diag.List{
		at("", 0, 0, diag.Internal, "m"),
		at("a.go", 1, 9, diag.BadValue, "m"),
		at("a.go", 2, 1, diag.BadValue, "m"),
		at("a.go", 2, 3, diag.UnknownKey, "z"),
		at("a.go", 2, 3, diag.BadValue, "a"),
		at("a.go", 2, 3, diag.BadValue, "b"),
		at("a.go", 10, 1, diag.BadValue, "m"),
		at("b.go", 1, 1, diag.BadValue, "m"),
	}
	got := diag.List{want[6], want[3], want[7], want[5], want[0], want[2], want[4], want[1]}
	got.Sort()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSortRemovesDuplicates(t *testing.T) {
	one, other := at("a.go", 1, 1, diag.BadValue, "m"), at("a.go", 1, 1, diag.BadValue, "m")
	one.Hint, other.Hint = "do this", "do that"
	forth, back := diag.List{one, other, one}, diag.List{other, one}
	forth.Sort()
	back.Sort()
	if d := cmp.Diff(diag.List{other}, forth); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(forth, back); d != "" {
		t.Error(d)
	}
}

func TestSortEmpty(t *testing.T) {
	var l diag.List
	l.Sort()
	if len(l) != 0 {
		t.Errorf("got %v", l)
	}
}
