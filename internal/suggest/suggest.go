// Package suggest finds the word that a misspelled one most likely means. Messages about unknown keys, directives and
// values use it.
package suggest

import "strings"

// Nearest returns the element of among that word is most likely a misspelling of. It compares by [Distance] and ignores
// case; the first of equally near elements wins. It reports false if more than about a third of the letters differ from
// all elements.
func Nearest(word string, among []string) (string, bool) {
	w := []rune(strings.ToLower(word))
	best, least := "", -1
	for _, candidate := range among {
		c := []rune(strings.ToLower(candidate))
		limit := (max(len(w), len(c)) + 1) / 3
		if max(len(w)-len(c), len(c)-len(w)) > limit {
			continue // at least that many letters differ; long words cost nothing
		}
		if d := distance(w, c); d <= limit && (least < 0 || d < least) {
			best, least = candidate, d
		}
	}
	return best, least >= 0
}

// Distance returns how many letters must be inserted, deleted, changed or swapped with their neighbor to make b from a:
// the restricted Damerau-Levenshtein distance, in which no part is edited twice.
func Distance(a, b string) int { return distance([]rune(a), []rune(b)) }

func distance(a, b []rune) int {
	// Rows i-2, i-1 and i of the table.
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
