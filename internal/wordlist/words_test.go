package main

import "testing"

func TestFind(t *testing.T) {
	for text, want := range map[string]int{
		"Says whether nobody listens.":              2,
		"reports whether no process listens":        0,
		"See the folder beside it; it stands there": 3,
		"x stands for a type; taken for granted":    0,
		"the method is to be called by hand":        2,
		"the backend is AWAY":                       1,
		"somewhere there are classes":               0,
	} {
		if got := find("f.go", 1, text); len(got) != want {
			t.Errorf("%q: %v, want %d", text, got, want)
		}
	}
}
