package diag

import (
	"fmt"
	"strings"
)

// Bug is the diagnostic for a panic or an error that only afgen can be to blame for: where and on what it was at work,
// what went wrong, and the stack, as far as it helps to find the place, or nil.
func Bug(at Pos, on string, what any, stack []byte) Diagnostic {
	message := fmt.Sprintf("a bug of afgen, in %s: %v", on, what)
	if place := origin(stack); place != "" {
		message += " (" + place + ")"
	}
	return Diagnostic{Code: Internal, Pos: at, Width: 1, Message: message,
		Hint: "the code may be right: please report this, with the declaration that is shown"}
}

// origin is the first place of this project in a stack, below the panic.
func origin(stack []byte) string {
	_, below, _ := strings.Cut(string(stack), "\npanic(")
	for line := range strings.Lines(below) {
		if _, place, ok := strings.Cut(line, "/gen/"); ok && strings.HasPrefix(line, "\t") {
			place, _, _ = strings.Cut(strings.TrimSpace(place), " ")
			return "gen/" + place
		}
	}
	return ""
}
