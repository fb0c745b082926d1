package main

import "regexp"

// A word is an expression that the project doesn't use, and what to write instead.
type word struct {
	pattern *regexp.Regexp
	instead string
}

// words are idioms that Go programmers don't use in comments. Matches ignore case. A group named ok marks a use that is
// fine, since package regexp has no negative lookahead.
var words = []word{
	use(`says? (?:whether|what|which|how|why|where|who|so)\b`, "reports whether, returns"),
	use(`where (?:there (?:is|are|was|were)|nobody|none|nothing|no)\b`, "if, when, unless"),
	use(`(?:some|no|every|any)body\b|whoever\b|whomever\b|he\b|him\b|his\b`,
		"another process, the caller, the owner, or the passive"),
	use(`stands?\b(?P<ok>-in| in for| for\b| alone)?|stood\b`, "is, see, is documented in"),
	use(`folders?\b`, "directory"),
	use(`news\b`, "event, notification"),
	use(`away\b(?P<ok> from)?`, "unavailable, unreachable, down"),
	use(`(?:goes|go|going|gone|went) on\b`, "continues, keeps running"),
	use(`what (?:came|comes|becomes|became|become|has become) of\b`, "result, outcome"),
	use(`convict\w*|judges?\b|judged\b|judging\b|judge?ment\b|suspicions?\b`,
		"declared dead, lease expired, failure detector, suspected"),
	use(`(?:is|are|was|were) (?:not )?to be\b`, "will, must, should"),
	use(`(?:sees?|saw|seen|seeing) to\b`, "handles"),
	use(`besides?\b`, "also, next to"),
	use(`by hand\b`, "manually"),
	use(`mend(?:s|ed|ing)?\b`, "fix"),
	use(`(?:taken|takes?|took) for\b(?P<ok> granted)?`, "considered"),
	use(`as is wanted\b|as they keep to\b|is wanted\b|are wanted\b`, "break the sentence in two"),
	use(`(?:is|are) owed\b|owes?\b|owed\b`, "pending"),
	use(`in vain\b|anew\b|lest\b|thereof\b|thereby\b|wherein\b|whereof\b|none the less\b|ere\b|ought\b`, "a plain word"),
	use(`for good\b`, "permanently"),
	use(`no (?:one|longer any)\b|none of (?:them|which)\b|naught\b`, "no instance, no process, not any"),
	use(`the like\b|and so forth\b|to and fro\b`, "name the things"),
	use(`house\b|houses\b|rooms?\b`, "package, file, space"),
}

// use returns a word. The expression begins at the start of a word.
func use(expr, instead string) word {
	return word{pattern: regexp.MustCompile(`(?i)\b(?:` + expr + `)`), instead: instead}
}

// A finding is a place with an expression of the list.
type finding struct {
	file    string
	line    int
	text    string // as written
	instead string
}

// find returns the findings of one line of text.
func find(file string, line int, text string) []finding {
	var out []finding
	for _, w := range words {
		ok := w.pattern.SubexpIndex("ok")
		for _, m := range w.pattern.FindAllStringSubmatchIndex(text, -1) {
			if ok > 0 && m[2*ok] >= 0 {
				continue
			}
			out = append(out, finding{file: file, line: line, text: text[m[0]:m[1]], instead: w.instead})
		}
	}
	return out
}
