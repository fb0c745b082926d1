package drain

import (
	"fmt"
	"testing"
)

func TestAttrsTellWhatIsLeft(t *testing.T) {
	left := Left{
		Tasks:    map[string][]string{"b": {"t1"}, "a": {"t2", "t3", "t4", "t5"}, "idle": nil},
		Calls:    map[string]int{"Orders": 2, "Idle": 0},
		Messages: map[string]int{"mail": 1},
		Results:  7,
	}
	want := "[tasks a: 4 (t2 t3 t4 …) b: 1 (t1) calls Orders: 2 messages mail: 1 results 7]"
	if got := fmt.Sprint(left.attrs()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (Left{Calls: map[string]int{"Idle": 0}}).attrs(); got != nil {
		t.Errorf("nothing is left, but %v", got)
	}
}
