package config

import (
	"fmt"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} and ${NAME:-text} in text by values from env, and $${ by ${. It reports whether there was
// any variable. Problems name variables but quote nothing else of the text, which may be a password.
func expand(text string, env func(string) (string, bool)) (out string, expanded bool, problems []string) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), expanded, problems
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			text = after
			continue
		}
		b.WriteString(before)
		body, rest, closed := strings.Cut(after, "}")
		name, fallback, hasFallback := strings.Cut(body, ":-")
		if !closed || !variableName.MatchString(name) {
			return "", true, append(problems, "${ must begin ${NAME} or ${NAME:-default}; write $${ for a literal ${")
		}
		value, set := env(name)
		switch {
		case hasFallback && value == "": // as in a shell, empty is like unset
			value = fallback
		case !set && !hasFallback:
			problems = append(problems,
				fmt.Sprintf("environment variable %s is not set; use ${%s:-…} for a default", name, name))
		}
		b.WriteString(value)
		text, expanded = rest, true
	}
}
