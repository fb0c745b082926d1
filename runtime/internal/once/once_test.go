package once_test

import (
	"strconv"
	"testing"

	"github.com/afgen/afgen/runtime/internal/once"
)

func TestEachKeyIsFirstOnce(t *testing.T) {
	var s once.Set
	for i := range 1024 {
		if key := strconv.Itoa(i); !s.First(key) || s.First(key) {
			t.Fatalf("key %s", key)
		}
	}
	if s.First("one more") {
		t.Error("the number of keys is not bounded")
	}
}
