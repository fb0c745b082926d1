package hooks

import "strings"

// The parts of a W3C traceparent: version, trace id, span id and flags, in lower-case hexadecimal digits.
const (
	traceFrom, traceTo = 3, 35
	spanFrom, spanTo   = 36, 52
	traceLength        = 55
)

// ValidTrace reports whether a string is a W3C traceparent.
func ValidTrace(s string) bool {
	if len(s) != traceLength || s[traceFrom-1] != '-' || s[traceTo] != '-' || s[spanTo] != '-' {
		return false
	}
	other := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }
	for _, part := range []string{s[:traceFrom-1], s[traceFrom:traceTo], s[spanFrom:spanTo], s[spanTo+1:]} {
		if strings.IndexFunc(part, other) >= 0 {
			return false
		}
	}
	return true
}

// Sampled reports whether the span of a valid traceparent is sampled, so that it can be found later. It is false of "".
func Sampled(traceparent string) bool {
	return traceparent != "" && strings.IndexByte("13579bdf", traceparent[traceLength-1]) >= 0
}

// TraceID returns the trace id of a valid traceparent, and "" of "".
func TraceID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return traceparent[traceFrom:traceTo]
}

// SpanID returns the span id of a valid traceparent, and "" of "".
func SpanID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return traceparent[spanFrom:spanTo]
}
