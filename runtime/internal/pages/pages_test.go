package pages_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/pages"
)

func text(i int) string { return pages.Text(fmt.Sprintf("%05d", i)) }

// Whatever is added or removed between two pages, each entry that exists throughout is listed once, in order.
func TestStableEntriesAreListedOnce(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		stay, list := []int{}, []int{}
		for i := range 500 {
			switch random.IntN(3) {
			case 0:
				stay, list = append(stay, i), append(list, i)
			case 1:
				list = append(list, i)
			}
		}
		var seen []int
		q := pages.Query{Sort: "s"}
		for {
			q.Limit = 1 + random.IntN(40)
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			entries, next, err := pages.Of(list, q, text)
			if err != nil || len(entries) > q.Limit {
				t.Fatal(len(entries), err)
			}
			seen = append(seen, entries...)
			if q.Cursor = next; next == "" {
				break
			}
			list = slices.Clone(stay)
			for range 100 {
				if i := random.IntN(500); !slices.Contains(list, i) {
					list = append(list, i)
				}
			}
		}
		if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Fatalf("seed %d: not in order, or repeated: %v", seed, seen)
		}
		for _, i := range stay {
			if !slices.Contains(seen, i) {
				t.Errorf("seed %d: %d is missed", seed, i)
			}
		}
	}
}

func TestInvalidQueriesAreRefused(t *testing.T) {
	list := []int{1, 2, 3}
	_, cursor, err := pages.Of(list, pages.Query{Sort: "s", Limit: 1}, text)
	if err != nil || cursor == "" {
		t.Fatal(cursor, err)
	}
	for name, q := range map[string]pages.Query{
		"limit": {Sort: "s", Limit: 1001}, "negative": {Sort: "s", Limit: -1}, "skip": {Sort: "s", Skip: -1},
		"cursor": {Sort: "s", Cursor: "odd"}, "other_order": {Sort: "other", Cursor: cursor},
		"truncated": {Sort: "s", Cursor: cursor[:1]},
	} {
		if _, _, err := pages.Of(list, q, text); backend.CodeOf(err) != backend.ErrInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := pages.Of(list, pages.Query{}, nil); backend.CodeOf(err) != backend.ErrInvalidArgument {
		t.Errorf("no order: %v", err)
	}
}

func TestSkipCountsFromCursor(t *testing.T) {
	list := []int{3, 1, 2, 5, 4}
	_, cursor, _ := pages.Of(list, pages.Query{Limit: 2}, text)
	got, next, err := pages.Of(list, pages.Query{Cursor: cursor, Skip: 1, Limit: 1}, text)
	if err != nil || !slices.Equal(got, []int{4}) || next == "" {
		t.Errorf("%v, %q, %v", got, next, err)
	}
	if got, next, err := pages.Of(list, pages.Query{Skip: 9}, text); err != nil || got == nil ||
		len(got) != 0 || next != "" {
		t.Errorf("%v, %q, %v", got, next, err)
	}
}

// Keys sort like the values they are made of.
func TestKeysKeepTheOrder(t *testing.T) {
	numbers := []float64{math.Inf(1), 1e300, 2, 1, 0.5, 1e-300, 0, -1e-300, -0.5, -2, math.Inf(-1)}
	for i := range numbers[1:] {
		if pages.Most(numbers[i]) >= pages.Most(numbers[i+1]) {
			t.Errorf("%v is not before %v", numbers[i], numbers[i+1])
		}
	}
	if pages.Most(2) >= pages.Most(1) || pages.Most(int64(1<<40)) >= pages.Most(int64(7)) {
		t.Error("whole numbers are not in order")
	}
	times := []time.Time{time.Unix(1e10, 0), time.Unix(1e9, 1000), time.Unix(1e9, 0), time.Unix(-5, 0), {}}
	for i := range times[1:] {
		if pages.Latest(times[i]) >= pages.Latest(times[i+1]) {
			t.Errorf("%v is not before %v", times[i], times[i+1])
		}
	}
	texts := []string{"", "a", "a b", "a-b", "ab", "b"}
	for i := range texts[1:] {
		if pages.Text(texts[i])+pages.Text("z") >= pages.Text(texts[i+1])+pages.Text("a") {
			t.Errorf("%q is not before %q", texts[i], texts[i+1])
		}
	}
}
