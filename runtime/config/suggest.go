package config

import "strings"

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
			distance = editDistance(got, want)
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

// editDistance returns the Damerau-Levenshtein distance: inserted, deleted and replaced letters, and swapped
// neighbours.
func editDistance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
