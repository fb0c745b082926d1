package config

import (
	"strings"

	"github.com/afgen/afgen/internal/suggest"
)

// closest returns the last part of the name in rows that got probably means, or "". skip is the length of the name
// before that part.
func closest(got string, skip int, rows []row) string {
	got = fold(got)
	best, bestDistance := "", 3 // with three edits or more it is another word
	for _, r := range rows {
		name := r.Name[skip:]
		want := fold(name)
		distance := bestDistance
		if max(len(got), len(want))-min(len(got), len(want)) < bestDistance {
			distance = suggest.Distance(got, want)
		}
		if len(got) >= 3 && strings.HasPrefix(want, got) { // "user", "pass", "log"
			distance = min(distance, 2)
		}
		// Two edits of a short word leave nothing in common.
		if distance < bestDistance && distance < (len(want)+1)/2 {
			best, bestDistance = name, distance
		}
	}
	return best
}

// fold removes differences in spelling: maxPool, Max-Pool, max_pool.
func fold(s string) string { return strings.ToLower(separators.Replace(s)) }

var separators = strings.NewReplacer("_", "", "-", "", ".", "")
