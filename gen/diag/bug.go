package diag

import (
	"fmt"
	"strings"
)

// Bug returns the diagnostic for a panic or error that only a bug of afgen can cause. on names the declaration at the
// position at, and what is the panic value or error. stack is the stack trace of a panic, or nil.
func Bug(at Pos, on string, what any, stack []byte) Diagnostic {
	message := fmt.Sprintf("bug in afgen: %s: %v", on, what)
	if place := origin(stack); place != "" {
		message += " (" + place + ")"
	}
	return Diagnostic{Code: Internal, Pos: at, Width: 1, Message: message,
		Hint: "your code may be correct; please report this together with the declaration shown"}
}

// origin returns the first position in this project below the panic in a stack trace.
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
