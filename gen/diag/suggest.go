package diag

import "strings"

// Suggest returns the one of among that word is most likely a slip of: the nearest by insertions, deletions, changes of
// a letter and exchanges of two neighbours, letter case set aside. Of several equally near it is the first. It reports
// false if none is near, that is, if more than about a third of the letters would have to change.
func Suggest(word string, among []string) (string, bool) {
	w := []rune(strings.ToLower(word))
	best, least := "", -1
	for _, candidate := range among {
		c := []rune(strings.ToLower(candidate))
		limit := (max(len(w), len(c)) + 1) / 3
		if max(len(w)-len(c), len(c)-len(w)) > limit {
			continue // at least that many letters differ; it also keeps a very long word from costing anything
		}
		if d := distance(w, c); d <= limit && (least < 0 || d < least) {
			best, least = candidate, d
		}
	}
	return best, least >= 0
}

// distance is the Damerau-Levenshtein distance in its restricted form: no piece is edited twice.
func distance(a, b []rune) int {
	// Rows i-2, i-1 and i of the usual table, in turn.
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
